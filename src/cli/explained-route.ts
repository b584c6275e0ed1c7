import { serializeExplanation } from '../api/explanation-json.js';
import type { ApiClient } from '../client/api-client.js';
import type { CapabilityQuery } from '../core/capability.js';
import { escapeControls } from '../core/control-characters.js';
import { AnyserveError } from '../core/errors.js';
import type { ExplainedConditions } from '../core/explainer.js';
import type { Explanation } from '../core/explanation.js';
import { describeExplanation } from '../core/explanation-text.js';
import type { CommandIo } from './command.js';
import { createLog } from './log-lines.js';

/** Options of {@link explainRoute}. */
export interface ExplainedRouteOptions extends ExplainedConditions {
  readonly isJson: boolean;
  readonly io: CommandIo;
}

/**
 * Prints which replicas a query finds at each API server, or why it finds none. Resolves to the exit code, which is the one of
 * "no match" if no server has a match.
 */
export async function explainRoute(
  api: ApiClient,
  query: CapabilityQuery,
  { isJson, io, ...conditions }: ExplainedRouteOptions,
): Promise<number> {
  const { servers, failures } = await api.explanations.explainEach([query], { signal: io.interrupted, ...conditions });
  for (const { error } of failures) createLog(io).warn(`incomplete explanation: ${error.message}`);
  const hasSeveral = servers.length + failures.length > 1;
  const format = isJson ? formatJson : formatText;
  let isFound = false;
  for (const { server, explanations } of servers) {
    const explanation = explanations[0] as Explanation;
    isFound ||= explanation.candidates.count > 0;
    io.stdout.write(format(explanation, hasSeveral ? server.name : undefined));
  }
  return isFound ? 0 : new AnyserveError('no_match', '').exitCode;
}

/** Formats the object of a server as a line. With several servers, it names the server. */
function formatJson(explanation: Explanation, server: string | undefined): string {
  const body = serializeExplanation(explanation);
  const line = server === undefined ? body : `{"server":${JSON.stringify(server)},${body.slice(1)}`;
  return `${escapeControls(line)}\n`;
}

/** Formats the message, and each detail as an indented line. */
function formatText(explanation: Explanation, server: string | undefined): string {
  const { message, details } = describeExplanation(explanation);
  const head = server === undefined ? message : `${server}: ${message}`;
  return `${[head, ...details.map((detail) => `  ${detail}`)].map(escapeControls).join('\n')}\n`;
}
