import { AnyserveError } from '../core/errors.js';
import { isProtocol, type Protocol } from '../core/protocol.js';
import { quote } from '../core/quoting.js';

/**
 * Request header with the protocol that replicas must have. Servers that don't know it, such as the Python server, ignore it. In
 * the response to a route request without a match, the other protocol, if replicas that have it match.
 */
export const PROTOCOL_HEADER = 'x-anyserve-protocol';

/** Parses the values of {@link PROTOCOL_HEADER}, which must be equal. Undefined if there are none. Throws `usage`. */
export function parseProtocolHeader(values: readonly string[]): Protocol | undefined {
  if (values.length === 0) return undefined;
  const [value = ''] = values;
  if (values.length === 1 && isProtocol(value)) return value;
  // A proxy can join two headers with a comma.
  const names = new Set(
    values
      .join(',')
      .split(',')
      .map((name) => name.trim()),
  );
  const [name = ''] = names;
  if (names.size === 1 && isProtocol(name)) return name;
  const text = quote(values.join(', '));
  throw new AnyserveError('usage', `${PROTOCOL_HEADER}: ${text} is not a protocol; give grpc or http`);
}

/** Formats the request header. Returns no header for undefined. */
export function formatProtocolHeader(protocol: Protocol | undefined): Record<string, string> {
  return protocol === undefined ? {} : { [PROTOCOL_HEADER]: protocol };
}

/** Reads the header of a response. Returns undefined if there is none. */
export function readProtocolHeader(value: string | readonly string[] | undefined): Protocol | undefined {
  return typeof value === 'string' && isProtocol(value) ? value : undefined;
}
