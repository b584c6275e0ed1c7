import type { Random } from '../../../core/ports.js';
import type { Picker, ReplicaCandidate } from './picker.js';
import { pickRandomIndex } from './random.js';

/**
 * Power of two choices: of two random candidates, picks the one whose calls in progress should be done earlier. If they are
 * equal, the loads that they report decide: the calls of other clients. Source: M. Mitzenmacher, "The Power of Two Choices in
 * Randomized Load Balancing", 2001.
 *
 * A third candidate takes part in two cases. With many clients, most choices are between replicas at which this client has equally
 * many calls: with ten clients, the busiest of 100 replicas has 1.77 times the mean of calls instead of 1.83 (without loads, 1.9).
 * And if one in ten replicas is slow, one choice in a hundred is between two of them.
 */
export function createP2cPicker(random: Random): Picker {
  return {
    pick(candidates) {
      const first = pickRandomIndex(candidates, random);
      const one = candidates[first] as ReplicaCandidate;
      if (candidates.length === 1) return one;
      const second = pickRandomIndex(candidates, random, first);
      const other = candidates[second] as ReplicaCandidate;
      const wait = compareWaits(other, one);
      const [best, bestAt] = (wait || compareLoads(other, one)) < 0 ? [other, second] : [one, first];
      if (candidates.length === 2 || (wait !== 0 && !isSlow(best))) return best;
      const third = candidates[pickRandomIndex(candidates, random, bestAt)] as ReplicaCandidate;
      return (compareWaits(third, best) || compareLoads(third, best)) < 0 ? third : best;
    },
  };
}

/**
 * Factor by which a latency must exceed the median before it counts. Equal replicas differ by chance, and following that would
 * balance their calls worse than the number of calls alone. A faster replica gets more calls anyway: it is done earlier.
 */
const SIGNIFICANT_FACTOR = 2;

/** Returns a negative number if a new call would probably take less time at the first of two candidates; 0 if it takes as long. */
function compareWaits(a: ReplicaCandidate, b: ReplicaCandidate): number {
  const latencyA = getSignificantLatencyMs(a);
  const latencyB = getSignificantLatencyMs(b);
  if (latencyA === latencyB) return compareCalls(a, a.stats.inFlight, b, b.stats.inFlight);
  return latencyA * (a.stats.inFlight / a.weight + 1) - latencyB * (b.stats.inFlight / b.weight + 1);
}

/** Returns the latency of a candidate that is slow, and otherwise the median. */
function getSignificantLatencyMs({ stats }: ReplicaCandidate): number {
  const latencyMs = stats.estimateLatencyMs();
  const { medianLatencyMs } = stats;
  return latencyMs > SIGNIFICANT_FACTOR * medianLatencyMs ? latencyMs : medianLatencyMs;
}

const isSlow = (candidate: ReplicaCandidate): boolean =>
  getSignificantLatencyMs(candidate) > candidate.stats.medianLatencyMs;

/** Compares the loads of two candidates, by their reports: the calls that wait, then those that run. */
function compareLoads(a: ReplicaCandidate, b: ReplicaCandidate): number {
  const [loadA, loadB] = [a.stats.currentLoad, b.stats.currentLoad];
  if (!loadA || !loadB) return 0;
  return compareCalls(a, loadA.waiting, b, loadB.waiting) || compareCalls(a, loadA.running, b, loadB.running);
}

/**
 * Compares the calls of two candidates in proportion to the weights. The first has fewer if this is so even with one more call.
 * With equal weights, each call counts. With others, the candidates are equal until the difference is a whole call, so that
 * the weights decide while there are few calls.
 */
function compareCalls(a: ReplicaCandidate, callsA: number, b: ReplicaCandidate, callsB: number): number {
  if ((callsA + 1) / a.weight <= callsB / b.weight) return -1;
  return (callsB + 1) / b.weight <= callsA / a.weight ? 1 : 0;
}
