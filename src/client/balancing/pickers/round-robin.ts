import type { Picker, ReplicaCandidate } from './picker.js';

/**
 * Picks the candidates in turn. With weights, the turns of a candidate are spread out instead of following each other. Source:
 * the smooth weighted round robin of nginx.
 */
export function createRoundRobinPicker(): Picker {
  /** Credit of each endpoint: it grows by the weight in each turn, and the endpoint with the most is picked. */
  let credits = new Map<string, number>();
  return {
    pick(candidates) {
      const next = new Map<string, number>();
      let [totalWeight, most] = [0, Number.NEGATIVE_INFINITY];
      let picked = candidates[0] as ReplicaCandidate;
      for (const candidate of candidates) {
        const { endpoint } = candidate.target;
        const credit = (credits.get(endpoint) ?? 0) + candidate.weight;
        next.set(endpoint, credit);
        totalWeight += candidate.weight;
        if (credit > most) [most, picked] = [credit, candidate];
      }
      next.set(picked.target.endpoint, most - totalWeight);
      credits = next;
      return picked;
    },
  };
}
