import type { ReplicaId } from './ids.js';
import type { Random } from './ports.js';
import type { Registration } from './replica.js';

/**
 * One of the candidates, each as likely as the others. The excluded are left out, unless nobody else is there: a
 * caller that has just seen them all fail is better served with one of them than with none.
 */
export function choose(
  candidates: readonly Registration[],
  excluded: ReadonlySet<ReplicaId>,
  random: Random,
): Registration | undefined {
  const preferred = excluded.size > 0 ? candidates.filter(({ replica }) => !excluded.has(replica.id)) : candidates;
  const pool = preferred.length > 0 ? preferred : candidates;
  return pool[Math.floor(random.fraction() * pool.length)];
}
