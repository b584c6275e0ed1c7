import type { Random } from '../../../core/ports.js';
import type { Picker, ReplicaCandidate } from './picker.js';
import { pickRandomIndex } from './random.js';

/**
 * Power of two choices: of two random candidates, picks the one whose calls in progress should be done earlier. Source: M.
 * Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001.
 */
export function createP2cPicker(random: Random): Picker {
  return {
    pick(candidates) {
      const first = pickRandomIndex(candidates, random);
      const one = candidates[first] as ReplicaCandidate;
      if (candidates.length === 1) return one;
      const other = candidates[pickRandomIndex(candidates, random, first)] as ReplicaCandidate;
      return isFaster(other, one) ? other : one;
    },
  };
}

/**
 * Factor by which a latency must exceed the median before it counts. Equal replicas differ by chance, and following that would
 * balance their calls worse than the number of calls alone. A faster replica gets more calls anyway: it is done earlier.
 */
const SIGNIFICANT_FACTOR = 2;

/** Returns whether a new call would probably take less time at the first of two candidates. */
function isFaster(a: ReplicaCandidate, b: ReplicaCandidate): boolean {
  const latencyA = getSignificantLatencyMs(a);
  const latencyB = getSignificantLatencyMs(b);
  if (latencyA === latencyB) return isLessBusy(a, b);
  return latencyA * (countCalls(a) + 1) < latencyB * (countCalls(b) + 1);
}

/** Returns the latency of a candidate that is slow, and otherwise the median. */
function getSignificantLatencyMs({ stats }: ReplicaCandidate): number {
  const latencyMs = stats.estimateLatencyMs();
  const { medianLatencyMs } = stats;
  return latencyMs > SIGNIFICANT_FACTOR * medianLatencyMs ? latencyMs : medianLatencyMs;
}

/**
 * Returns whether the first of two candidates, even with the new call, would have no more calls than the second. With equal
 * weights, this is the same as fewer calls. With others, the candidates stay equal until the difference is a whole call, so
 * that the weights decide while there are few calls.
 */
function isLessBusy(a: ReplicaCandidate, b: ReplicaCandidate): boolean {
  return (a.stats.inFlight + 1) / a.weight <= countCalls(b);
}

/** Returns the number of calls in progress in proportion to the weight. */
function countCalls({ stats, weight }: ReplicaCandidate): number {
  return stats.inFlight / weight;
}
