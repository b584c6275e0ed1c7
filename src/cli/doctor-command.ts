import type { CheckResult } from '../client/diagnosis/machine-checks.js';
import { escapeControls } from '../core/control-characters.js';
import { clock } from '../system.js';
import { parseWholeNumber } from './argument-parsers.js';
import { CALL_TLS_OPTIONS, readCallTls } from './call-options.js';
import type { Command, CommandIo } from './command.js';
import { createColors } from './output.js';
import { createApiClient, readServerAccess, SERVER_OPTIONS } from './server-options.js';
import { startSpinner } from './spinner.js';

const MAX_PORT = 65_535;

/** `anyserve doctor`: checks what the other commands need. */
export const doctorCommand: Command = {
  name: 'doctor',
  usage: '',
  summary:
    'Checks this machine, each API server and the endpoints of the replicas, and prints one line per check: ok, warning or ' +
    'failed. Ends with 1 if a check failed. Endpoints are checked from here, as a client on this machine would call them.',
  examples: [
    ['anyserve doctor', 'check the API server at http://localhost:8080 and its replicas'],
    ['anyserve doctor --server http://a:8080 --server http://b:8080', 'check two API servers and their replicas'],
    ['anyserve doctor --endpoint gpu7:50051 --port 8080', 'check one endpoint, and whether a port is free'],
    ['anyserve doctor --json', 'print JSON'],
  ],
  options: {
    endpoint: {
      type: 'text',
      value: 'ENDPOINT',
      description: 'check this endpoint, host:port or a URL, instead of those of all replicas',
      repeatable: true,
      spaced: true,
      suggests: 'endpoints',
    },
    port: {
      type: 'text',
      value: 'PORT',
      description: 'check whether a program can listen on this port of this machine',
      repeatable: true,
      spaced: true,
    },
    ...SERVER_OPTIONS,
    ...CALL_TLS_OPTIONS,
  },
  maxWords: 0,
  async run(args, io) {
    const ports = args.getTexts('port').map((text) => parseWholeNumber('port', text, 1, MAX_PORT));
    const api = createApiClient(args, io);
    const spinner = args.hasFlag('json') ? undefined : startSpinner('checking', io);
    const results: CheckResult[] = [];
    try {
      // Loaded on demand, because help and completion don't need it.
      const { runChecks } = await import('../client/diagnosis/run-checks.js');
      const { tls } = readServerAccess(args, io);
      const plan = { ports, endpoints: args.getTexts('endpoint'), tls, callTls: readCallTls(args, tls) };
      for await (const result of runChecks(api, plan, { clock, signal: io.interrupted })) {
        results.push(result);
        spinner?.clear();
        if (!args.hasFlag('json')) io.stdout.write(formatResult(result, io));
      }
    } finally {
      spinner?.stop();
      api.close();
    }
    if (args.hasFlag('json')) io.stdout.write(`${escapeControls(JSON.stringify({ checks: results }))}\n`);
    return results.some(({ status }) => status === 'failed') ? 1 : 0;
  },
};

/** Formats a result as a line: the status, the name of the check, and what was found. */
function formatResult({ check, target, status, detail }: CheckResult, { stdout, env }: CommandIo): string {
  const colors = createColors(stdout, env);
  const colour = { ok: colors.green, warning: colors.yellow, failed: colors.red }[status];
  const text = target === undefined ? detail : `${target}: ${detail}`;
  return `${colour(status.padEnd(7))}   ${check.padEnd(11)}   ${escapeControls(text)}\n`;
}
