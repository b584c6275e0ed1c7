/** How a replica is called: `grpc` with the Open Inference Protocol at `host:port`, `http` with HTTP requests to a URL. */
export type Protocol = 'grpc' | 'http';

/** The names of the protocols, for messages. */
export const PROTOCOL_NAMES: Readonly<Record<Protocol, string>> = { grpc: 'gRPC', http: 'HTTP' };

const URL_START = /^https?:\/\//iu;

/** Returns the protocol of an endpoint. Every endpoint that isn't a URL is a gRPC target. */
export function getProtocol(endpoint: string): Protocol {
  return URL_START.test(endpoint) ? 'http' : 'grpc';
}

/** Returns whether an endpoint has the protocol that a caller asks for. Undefined asks for any. */
export function hasProtocol(endpoint: string, protocol: Protocol | undefined): boolean {
  return protocol === undefined || getProtocol(endpoint) === protocol;
}

/** Returns the other protocol. */
export function getOtherProtocol(protocol: Protocol): Protocol {
  return protocol === 'grpc' ? 'http' : 'grpc';
}

/** Returns whether a text is the name of a protocol. */
export function isProtocol(text: string): text is Protocol {
  return Object.hasOwn(PROTOCOL_NAMES, text);
}
