import type { Picker, ReplicaCandidate } from './picker.js';

/** A replica keeps its keys until it has more calls in progress than this, and than twice the mean. */
const MIN_BUSY_CALLS = 8;

/**
 * Sends calls with the same key to the same replica, in every process that has the same table. When a replica leaves, only its
 * keys move. A replica that is much busier than the others, or reports that calls wait, passes calls on to the next choice of the key. Calls without a
 * key go where the other picker says.
 *
 * Source: D. Thaler and C. Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998 (rendezvous hashing).
 */
export function createAffinityPicker(withoutKey: Picker): Picker {
  return {
    pick(candidates, context) {
      const { affinity } = context;
      if (affinity === undefined) return withoutKey.pick(candidates, context);
      const keyHash = hashText(affinity);
      const inFlight = candidates.reduce((total, { stats }) => total + stats.inFlight, 0);
      const maxCalls = Math.max(MIN_BUSY_CALLS, (2 * inFlight) / candidates.length);
      const isFree = ({ stats }: ReplicaCandidate): boolean => stats.inFlight <= maxCalls && !stats.hasWaitingCalls;
      return findHighest(candidates.filter(isFree), keyHash) ?? (findHighest(candidates, keyHash) as ReplicaCandidate);
    },
  };
}

/** Returns the candidate with the highest score for a key. */
function findHighest(candidates: readonly ReplicaCandidate[], keyHash: number): ReplicaCandidate | undefined {
  let highest = Number.NEGATIVE_INFINITY;
  let found: ReplicaCandidate | undefined;
  for (const candidate of candidates) {
    const { replicaId, endpoint } = candidate.target;
    const fraction = (mixBits(keyHash ^ hashId(replicaId ?? endpoint)) + 0.5) / 2 ** 32;
    // With this score, a candidate is the highest in proportion to its weight.
    const score = -candidate.weight / Math.log(fraction);
    if (score > highest) [highest, found] = [score, candidate];
  }
  return found;
}

/** Hashes of replica ids, which are used for many calls. */
const idHashes = new Map<string, number>();
const MAX_ID_HASHES = 10_000;

function hashId(id: string): number {
  let hash = idHashes.get(id);
  if (hash === undefined) {
    hash = hashText(id);
    if (idHashes.size >= MAX_ID_HASHES) idHashes.clear();
    idHashes.set(id, hash);
  }
  return hash;
}

/** Hashes a text to 32 bits: FNV-1a over its UTF-16 units. */
function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return hash;
}

/** Spreads the bits of a hash evenly: the finalizer of MurmurHash3. Returns 32 bits. */
function mixBits(hash: number): number {
  let bits = hash;
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return (bits ^ (bits >>> 16)) >>> 0;
}
