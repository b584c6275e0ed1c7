import type { Random } from '../../../core/ports.js';
import type { Picker, ReplicaCandidate } from './picker.js';
import { createRandomPicker } from './random.js';

/** Picks a candidate with the fewest calls in progress in proportion to its weight; one of several at random. */
export function createLeastRequestPicker(random: Random): Picker {
  const { pick } = createRandomPicker(random);
  return {
    pick(candidates, context) {
      let fewest = Number.POSITIVE_INFINITY;
      let found: ReplicaCandidate[] = [];
      for (const candidate of candidates) {
        const calls = candidate.stats.inFlight / candidate.weight;
        if (calls < fewest) [fewest, found] = [calls, [candidate]];
        else if (calls === fewest) found.push(candidate);
      }
      return pick(found, context);
    },
  };
}
