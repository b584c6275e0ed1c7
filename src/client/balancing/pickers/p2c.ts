import type { Random } from '../../../core/ports.js';
import type { Picker, ReplicaCandidate } from './picker.js';
import { pickRandomIndex } from './random.js';

/** Maximum number of random picks to find a second candidate. With few candidates of very different weights it can fail. */
const MAX_PICKS = 8;

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
      let second = first;
      for (let picks = 0; second === first && picks < MAX_PICKS; picks++) second = pickRandomIndex(candidates, random);
      const other = candidates[second] as ReplicaCandidate;
      return computeWaitMs(other) < computeWaitMs(one) ? other : one;
    },
  };
}

/**
 * Factor by which a latency must exceed the median before it counts. Equal replicas differ by chance, and following that would
 * balance their calls worse than the number of calls alone. A faster replica gets more calls anyway: it is done earlier.
 */
const SIGNIFICANT_FACTOR = 2;

/**
 * Returns how long a new call would probably take. Calls in progress count in proportion to the weight, so that without any
 * the weights decide alone.
 */
function computeWaitMs({ stats, weight }: ReplicaCandidate): number {
  const latencyMs = stats.estimateLatencyMs();
  const { medianLatencyMs } = stats;
  const isSlow = latencyMs > SIGNIFICANT_FACTOR * medianLatencyMs;
  return (stats.inFlight / weight + 1) * (isSlow ? latencyMs : medianLatencyMs);
}
