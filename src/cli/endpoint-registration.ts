import type { ServerAccess } from '../client/api-servers.js';
import { createHttpProbe, createTcpProbe, HTTP_PROBE_TIMEOUT_MS, toProbeUrl } from '../client/probe.js';
import { parseAdvertised, parseEndpoint } from '../core/endpoint.js';
import { AnyserveError } from '../core/errors.js';
import { createReplicaId, type Endpoint, parseReplicaId, type ReplicaId } from '../core/ids.js';
import { getHostName, instance } from '../system.js';
import type { Arguments } from './command.js';
import { readCapabilities } from './label-option.js';
import type { Registrable, ServerProbe } from './registrable.js';

/** Reads a model server with the endpoint `--endpoint` and the capabilities `--cap`. Throws `usage`. */
export async function readEndpointRegistration(args: Arguments, tls: ServerAccess['tls']): Promise<Registrable> {
  const endpoint = parseAdvertised(
    requireValue(
      args.getText('endpoint'),
      '--endpoint HOST:PORT, the address where callers reach the model server, or --openai URL',
    ),
  );
  const replica = { id: readReplicaId(args, endpoint), endpoint, capabilities: readCapabilities(args) };
  if (replica.capabilities.length === 0) requireValue(undefined, '--cap KEY=VALUE, a capability of the model server');
  for (const option of OPENAI_ONLY_OPTIONS) {
    if (args.isGiven(option)) throw new AnyserveError('usage', `--${option} requires --openai URL`);
  }
  const probe = await readProbe(args, endpoint, tls);
  return { replica, address: endpoint, createProbe: () => probe };
}

/** Default path of an HTTP probe. */
const DEFAULT_PROBE_PATH = '/health';

/** Options that only apply to `--openai`. */
const OPENAI_ONLY_OPTIONS: readonly string[] = [
  'advertise',
  'type',
  'openai-key-file',
  'openai-tls-ca',
  'openai-tls-cert',
  'openai-tls-key',
];

/** Reads the id of the replica. Default: one with the host name and the port of the endpoint. Throws `usage`. */
export function readReplicaId(args: Arguments, endpoint: Endpoint): ReplicaId {
  const parts = parseEndpoint(endpoint);
  const label = parts?.kind === 'unix' ? 'replica' : (parts?.port ?? 'replica');
  return parseReplicaId(args.getText('id') ?? createReplicaId({ hostName: getHostName(), instance }, label));
}

/** Reads the health probe. Undefined: the model server always counts as healthy. Throws `usage`. */
async function readProbe(
  args: Arguments,
  endpoint: Endpoint,
  tls: ServerAccess['tls'],
): Promise<ServerProbe | undefined> {
  const model = args.getText('probe-model');
  const kind = args.getText('probe') ?? (args.program || model !== undefined ? 'grpc' : 'none');
  if (kind !== 'http' && args.isGiven('probe-path')) {
    throw new AnyserveError('usage', '--probe-path requires --probe http');
  }
  const isSecure = args.hasFlag('probe-tls');
  if (isSecure && kind !== 'grpc') throw new AnyserveError('usage', '--probe-tls requires --probe grpc');
  if (model !== undefined && kind !== 'grpc') throw new AnyserveError('usage', '--probe-model requires --probe grpc');
  switch (kind) {
    case 'none':
      return undefined;
    case 'grpc':
      return {
        probe: (await import('../client/grpc-probe.js')).createGrpcProbe(endpoint, {
          tls: isSecure ? (tls ?? (() => ({}))) : undefined,
          model,
        }),
      };
    case 'tcp':
      return { probe: createTcpProbe(endpoint) };
    case 'http':
      return {
        probe: createHttpProbe(toProbeUrl(endpoint, args.getText('probe-path') ?? DEFAULT_PROBE_PATH), tls),
        // Longer than the probe's own timeout, so that the probe reports the reason.
        timeoutMs: HTTP_PROBE_TIMEOUT_MS + 1000,
      };
    default:
      throw new AnyserveError('usage', `--probe ${JSON.stringify(kind)}: unknown kind; give grpc, tcp, http or none`);
  }
}

/** Returns a value. Throws `usage` if it is missing. */
export function requireValue(value: string | undefined, description: string): string {
  if (value === undefined || value === '') throw new AnyserveError('usage', `missing ${description}`);
  return value;
}
