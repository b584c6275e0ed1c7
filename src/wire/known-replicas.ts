import type { KnownReplica } from '../core/registry.js';
import { replicaText } from './replica-json.js';

/** How much of a lease's name is shown: enough to tell two apart, too little to end one. */
const SHOWN_LEASE = 8;

/** The times that the body of `GET /replicas` is made with: the same moment on both of the clock's scales. */
export interface Moment {
  readonly nowMs: number;
  readonly epochMs: number;
}

/**
 * The body of `GET /replicas`: what `GET /registry` has, and all that is known besides. Times are in seconds since
 * 1970, and so is `now`, for readers whose clock goes otherwise.
 */
export function knownReplicasText(known: readonly KnownReplica[], moment: Moment): string {
  return `{"now":${moment.epochMs / 1000},"replicas":[${known.map((one) => knownReplicaText(one, moment)).join(',')}]}`;
}

function knownReplicaText({ registration, lease }: KnownReplica, { nowMs, epochMs }: Moment): string {
  const { replica, state, sinceEpochMs } = registration;
  const about = {
    state,
    since: sinceEpochMs / 1000,
    lease: registration.lease.slice(0, SHOWN_LEASE),
    peer: lease?.host ?? null,
    ttl: lease?.ttlMs === undefined ? null : lease.ttlMs / 1000,
    last_seen: lease ? Math.round(epochMs - (nowMs - lease.seenAtMs)) / 1000 : null,
  };
  return `${replicaText(replica).slice(0, -1)},${JSON.stringify(about).slice(1)}`;
}
