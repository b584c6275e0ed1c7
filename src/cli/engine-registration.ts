import { ENGINE_CHECK_TIMEOUT_MS } from '../client/engine/engine-check.js';
import { parseOpenaiUrl } from '../client/engine/openai-access.js';
import { RegisteredEngine } from '../client/engine/registered-engine.js';
import { parseAdvertised } from '../core/endpoint.js';
import { AnyserveError } from '../core/errors.js';
import { asEndpoint } from '../core/ids.js';
import { clock } from '../system.js';
import { parseCap } from './argument-parsers.js';
import type { Arguments, CommandIo } from './command.js';
import { readReplicaId } from './endpoint-registration.js';
import { readLabels } from './label-option.js';
import { createLog } from './log-lines.js';
import { readModelTypes, readOpenaiAccess } from './openai-options.js';
import type { Registrable } from './registrable.js';

/** Options that do not apply to `--openai`, and what does instead. */
const ENDPOINT_OPTIONS: Readonly<Record<string, string>> = {
  endpoint: '--advertise URL registers another address than that of --openai',
  probe: '--openai has its own probe; see --probe-path',
  'probe-model': '--openai has its own probe; see --probe-path',
  'probe-tls': 'an https URL of --openai uses TLS; see --openai-tls-ca',
};

/** Reads an engine with OpenAI's HTTP API. Its capabilities are those of the models that it lists. Throws `usage`. */
export async function readEngineRegistration(url: string, args: Arguments, io: CommandIo): Promise<Registrable> {
  for (const [option, advice] of Object.entries(ENDPOINT_OPTIONS)) {
    if (args.isGiven(option)) throw new AnyserveError('usage', `--${option} does not apply to --openai: ${advice}`);
  }
  const access = await readOpenaiAccess(url, args, io, createLog(io, args));
  const options = {
    ...access,
    probePath: args.getText('probe-path'),
    types: readModelTypes(args),
    capabilities: args.getTexts('cap').map(parseCap),
    labels: readLabels(args),
    clock,
  };
  const endpoint = parseAdvertised(parseOpenaiUrl(args.getText('advertise') ?? url));
  let engine: RegisteredEngine | undefined;
  return {
    replica: { id: readReplicaId(args, endpoint), endpoint, capabilities: [] },
    address: asEndpoint(url),
    createProbe: ({ update, fail }) => {
      const registered = new RegisteredEngine({ ...options, onCapabilities: update, onPermanentError: fail });
      engine = registered;
      return { probe: (signal) => registered.check(signal), timeoutMs: ENGINE_CHECK_TIMEOUT_MS };
    },
    getLoad: () => engine?.load,
    close: () => engine?.close(),
  };
}
