import type { Random } from '../../../core/ports.js';
import type { Picker, ReplicaCandidate } from './picker.js';

/**
 * Picks the candidates in turn. With weights, the turns of a candidate are spread out instead of following each other. Source:
 * C. Waldspurger and W. Weihl, "Stride Scheduling", 1995.
 *
 * A candidate that is new, or has missed its turn, gets a random place in the round. If replicas that come back at the same time
 * were next to each other, the attempts of a call would find several that still fail.
 */
export function createRoundRobinPicker(random: Random): Picker {
  /** Time of the next turn of each endpoint. A round takes 1. */
  const turns = new Map<string, number>();
  let now = 0;
  return {
    pick(candidates) {
      const isFirst = turns.size === 0;
      let earliest = Number.POSITIVE_INFINITY;
      let picked = candidates[0] as ReplicaCandidate;
      for (const [at, candidate] of candidates.entries()) {
        const { endpoint } = candidate.target;
        let turn = turns.get(endpoint);
        if (turn === undefined || turn < now) {
          const place = isFirst ? at / candidates.length : random.fraction();
          turn = now + place / candidate.weight;
          turns.set(endpoint, turn);
        }
        if (turn < earliest) [earliest, picked] = [turn, candidate];
      }
      now = earliest;
      turns.set(picked.target.endpoint, now + 1 / picked.weight);
      if (turns.size > 2 * candidates.length) forgetBefore(turns, now);
      return picked;
    },
  };
}

/** Forgets the endpoints that have missed their turns, most of which have left. */
function forgetBefore(turns: Map<string, number>, now: number): void {
  for (const [endpoint, turn] of turns) if (turn < now) turns.delete(endpoint);
}
