import { status } from '@grpc/grpc-js';
import type { GrpcJsCall } from './grpc-js-workarounds.js';
import type { RequestReader } from './request-watchdog.js';

/** Maximum number of concurrent calls of public methods (methods that require no token). */
const MAX_PUBLIC_CALLS = 64;

/** Maximum number of those that are streams: health Watch and reflection. */
const MAX_PUBLIC_STREAMS = 48;

const TOO_MANY_PUBLIC_CALLS = `too many concurrent calls of methods that require no token: the limit is ${MAX_PUBLIC_CALLS}, and ${MAX_PUBLIC_STREAMS} for streams`;

/** A call of a public method. */
interface PublicCall {
  readonly grpcCall: GrpcJsCall;
  readonly reader: RequestReader;
  readonly isStream: boolean;
  readonly peer: string;
}

/** The open calls of public methods. When all are taken, addresses share them equally. */
export class PublicCalls {
  /** The oldest call is first. */
  readonly #calls = new Set<PublicCall>();

  /**
   * Makes room for one more call. If the limit is reached, ends a call of the address with the most calls, so that one
   * address can't shut out the watches of others. If that address has at most one call more than the new caller's, ends the
   * oldest call with an incomplete request instead, so that clients that never finish a request can't shut out health
   * checks. Throws if every request is complete.
   */
  makeRoom(grpcCall: GrpcJsCall, isStream: boolean): void {
    const streams = [...this.#calls].filter((call) => call.isStream);
    const hasMaxStreams = isStream && streams.length >= MAX_PUBLIC_STREAMS;
    if (!hasMaxStreams && this.#calls.size < MAX_PUBLIC_CALLS) return;
    const calls = hasMaxStreams ? streams : [...this.#calls];
    const ended = findExcessCall(calls, getPeer(grpcCall)) ?? findStalledCall(calls);
    if (!ended) throw new Error(TOO_MANY_PUBLIC_CALLS);
    this.#calls.delete(ended);
    ended.grpcCall.sendStatus({ code: status.RESOURCE_EXHAUSTED, details: TOO_MANY_PUBLIC_CALLS });
  }

  /** Adds a call and removes it when its stream closes. */
  add(grpcCall: GrpcJsCall, reader: RequestReader, isStream: boolean): void {
    const call = { grpcCall, reader, isStream, peer: getPeer(grpcCall) };
    this.#calls.add(call);
    grpcCall.stream.once('close', () => this.#calls.delete(call));
  }
}

function findStalledCall(calls: readonly PublicCall[]): PublicCall | undefined {
  return calls.find(({ reader }) => reader.isWaiting);
}

/**
 * Returns a call of the address with the most calls: the oldest whose request is incomplete, else the oldest. Undefined if
 * the new caller's address would then have more calls.
 */
function findExcessCall(calls: readonly PublicCall[], newPeer: string): PublicCall | undefined {
  const counts = new Map<string, number>();
  for (const { peer } of calls) counts.set(peer, (counts.get(peer) ?? 0) + 1);
  const most = Math.max(...counts.values());
  if (most <= (counts.get(newPeer) ?? 0) + 1) return undefined;
  const excess = calls.filter(({ peer }) => counts.get(peer) === most);
  return findStalledCall(excess) ?? excess[0];
}

function getPeer({ stream }: GrpcJsCall): string {
  return getAddressGroup(stream.session?.socket?.remoteAddress ?? '');
}

/** Returns the addresses that one host can have: an IPv4 address, or the /64 network of an IPv6 address. */
export function getAddressGroup(address: string): string {
  const text = address.replace(/^::ffff:(?=\d+\.)/, '');
  if (!text.includes(':')) return text;
  const [head = [], tail] = text.split('::').map((part) => (part === '' ? [] : part.split(':')));
  const missing = tail === undefined ? 0 : 8 - head.length - tail.length;
  return [...head, ...Array<string>(missing).fill('0'), ...(tail ?? [])].slice(0, 4).join(':');
}
