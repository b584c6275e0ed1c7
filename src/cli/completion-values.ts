import { Writable } from 'node:stream';
import { listPairs } from '../core/capability.js';
import type { Replica } from '../core/replica.js';
import { clock } from '../system.js';
import { parseArguments } from './arguments.js';
import type { Candidate, Command, CommandIo, Suggestions } from './command.js';
import { createApiClient, WORKER_PREFIX } from './server-options.js';

/** Longest time that a shell waits for an API server, in ms. */
const LIMIT_MS = 400;

type Known = Exclude<Suggestions['suggests'], 'files' | undefined>;

/** A command line before the cursor, which says which API server to ask. */
export interface PartialLine {
  readonly command: Command;
  readonly words: readonly string[];
  readonly io: CommandIo;
}

/** The values that the API server knows, sorted; none when it does not answer in time. Never throws. */
export async function fetchCompletionValues(what: Known, current: string, line: PartialLine): Promise<Candidate[]> {
  try {
    const replicas = await replicasInTime(line);
    const counts = new Map<string, number>();
    for (const replica of replicas) {
      for (const value of new Set(valuesOf(replica, what, current))) counts.set(value, (counts.get(value) ?? 0) + 1);
    }
    return [...counts.keys()].sort().map((value) => ({ value, description: replicaCount(counts.get(value) ?? 0) }));
  } catch {
    return [];
  }
}

function replicaCount(count: number): string {
  return count === 1 ? '1 replica' : `${count} replicas`;
}

function valuesOf({ id, endpoint, capabilities }: Replica, what: Known, current: string): readonly string[] {
  if (what === 'replica ids') return [id];
  if (what === 'endpoints') return [endpoint];
  const pairs = capabilities.flatMap((capability) => listPairs(capability.pairs));
  if (what === 'models') return pairs.filter(([key]) => key === 'type' || key === 'model').map(([, value]) => value);
  return pairs.map(([key, value]) => (current.includes('=') ? `${key}=${value}` : `${key}=`));
}

/** The replicas of the API server that the command line names. Nothing is printed meanwhile, not even warnings. */
async function replicasInTime({ command, words, io }: PartialLine): Promise<readonly Replica[]> {
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const parsed = await parseArguments([command.name, ...words], io.env, 80);
  if (parsed.kind !== 'run') return [];
  const prefix = `${WORKER_PREFIX}tls-ca` in command.options ? WORKER_PREFIX : '';
  const api = createApiClient(parsed.args, { ...io, stderr: silent }, prefix);
  const late = new AbortController();
  const cancel = clock.schedule(LIMIT_MS, () => late.abort(), { background: true });
  try {
    const answer = api.replicas({ signal: late.signal });
    return await Promise.race([
      answer,
      new Promise<[]>((resolve) => late.signal.addEventListener('abort', () => resolve([]))),
    ]);
  } finally {
    cancel();
    api.close();
  }
}
