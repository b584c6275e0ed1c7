import type { ReplicaId } from './ids.js';
import type { Random } from './ports.js';
import type { Registration, ReplicaState } from './replica.js';

/**
 * One of the candidates, each as likely as the others of the best kind there is: ready ones; else suspect ones; else,
 * of either, those that are excluded. A caller that has just seen them all fail is better served with one of them than
 * with none.
 */
export function choose(
  candidates: readonly Registration[],
  excluded: ReadonlySet<ReplicaId>,
  random: Random,
): Registration | undefined {
  const wanted = excluded.size > 0 ? candidates.filter(({ replica }) => !excluded.has(replica.id)) : candidates;
  for (const among of wanted === candidates ? [candidates] : [wanted, candidates]) {
    for (const state of ROUTABLE) {
      const pool = among.filter((candidate) => candidate.state === state);
      if (pool.length > 0) return pool[Math.floor(random.fraction() * pool.length)];
    }
  }
  return undefined;
}

/** The states in which a replica is routed to, the better first. */
const ROUTABLE: readonly ReplicaState[] = ['ready', 'suspect'];

/** Whether a replica is ever chosen. */
export function isRoutable({ state }: Registration): boolean {
  return ROUTABLE.includes(state);
}
