import type { Random } from '../../../core/ports.js';
import type { Picker, ReplicaCandidate } from './picker.js';

/** Picks a random candidate, in proportion to the weights. */
export function createRandomPicker(random: Random): Picker {
  return { pick: (candidates) => candidates[pickRandomIndex(candidates, random)] as ReplicaCandidate };
}

/** Returns the index of a random candidate, in proportion to the weights. */
export function pickRandomIndex(candidates: readonly ReplicaCandidate[], random: Random): number {
  const totalWeight = sumWeights(candidates);
  const fraction = random.fraction();
  if (totalWeight === candidates.length) return Math.floor(fraction * candidates.length);
  let rest = fraction * totalWeight;
  return Math.max(
    0,
    candidates.findIndex(({ weight }) => {
      rest -= weight;
      return rest < 0;
    }),
  );
}

/** Sums of the weights of lists, which are used for many calls. */
const sums = new WeakMap<readonly ReplicaCandidate[], number>();

function sumWeights(candidates: readonly ReplicaCandidate[]): number {
  let sum = sums.get(candidates);
  if (sum === undefined) {
    sum = candidates.reduce((total, { weight }) => total + weight, 0);
    sums.set(candidates, sum);
  }
  return sum;
}
