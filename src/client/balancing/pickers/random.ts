import type { Random } from '../../../core/ports.js';
import type { Picker, ReplicaCandidate } from './picker.js';

/** Picks a random candidate, in proportion to the weights. */
export function createRandomPicker(random: Random): Picker {
  return { pick: (candidates) => candidates[pickRandomIndex(candidates, random)] as ReplicaCandidate };
}

/** Returns the index of a random candidate other than the one at `except`, in proportion to the weights. */
export function pickRandomIndex(candidates: readonly ReplicaCandidate[], random: Random, except = -1): number {
  const totalWeight = sumWeights(candidates);
  const fraction = random.fraction();
  if (totalWeight === candidates.length) {
    const at = Math.floor(fraction * (except < 0 ? candidates.length : candidates.length - 1));
    return except < 0 || at < except ? at : at + 1;
  }
  let rest = fraction * (totalWeight - (candidates[except]?.weight ?? 0));
  const found = candidates.findIndex(({ weight }, at) => {
    if (at !== except) rest -= weight;
    return at !== except && rest < 0;
  });
  // Rounding can leave a rest of 0.
  return Math.max(0, found);
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
