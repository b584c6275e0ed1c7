import { Writable } from 'node:stream';
import { listPairs } from '../core/capability.js';
import type { Replica } from '../core/replica.js';
import { clock } from '../system.js';
import { parseArguments } from './arguments.js';
import type { Candidate, Command, CommandIo, Suggestions } from './command.js';
import { createApiClient, WORKER_PREFIX } from './server-options.js';

/** Timeout for the API server, in ms. The shell blocks meanwhile. */
const FETCH_TIMEOUT_MS = 400;

/** Kind of value that an API server knows. */
type ServerValue = Exclude<Suggestions['suggests'], 'files' | undefined>;

/** A command line up to the cursor. Its options name the API server. */
export interface PartialLine {
  readonly command: Command;
  readonly words: readonly string[];
  readonly io: CommandIo;
}

/** Fetches values from the API server and sorts them. Returns none if the server doesn't respond in time. Never throws. */
export async function fetchCompletionValues(
  kind: ServerValue,
  current: string,
  line: PartialLine,
): Promise<Candidate[]> {
  try {
    const replicas = await fetchReplicasInTime(line);
    const counts = new Map<string, number>();
    for (const replica of replicas) {
      for (const value of new Set(getValues(replica, kind, current))) counts.set(value, (counts.get(value) ?? 0) + 1);
    }
    return [...counts.keys()]
      .sort()
      .map((value) => ({ value, description: formatReplicaCount(counts.get(value) ?? 0) }));
  } catch {
    return [];
  }
}

function formatReplicaCount(count: number): string {
  return count === 1 ? '1 replica' : `${count} replicas`;
}

function getValues({ id, endpoint, capabilities }: Replica, kind: ServerValue, current: string): readonly string[] {
  if (kind === 'replica ids') return [id];
  if (kind === 'endpoints') return [endpoint];
  const pairs = capabilities.flatMap((capability) => listPairs(capability.pairs));
  if (kind === 'models') return pairs.filter(([key]) => key === 'type' || key === 'model').map(([, value]) => value);
  return pairs.map(([key, value]) => (current.includes('=') ? `${key}=${value}` : `${key}=`));
}

/** Fetches the replicas from the API server that the command line names. Prints nothing, not even warnings. */
async function fetchReplicasInTime({ command, words, io }: PartialLine): Promise<readonly Replica[]> {
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const parsed = await parseArguments([command.name, ...words], io.env, 80);
  if (parsed.kind !== 'run') return [];
  const prefix = `${WORKER_PREFIX}tls-ca` in command.options ? WORKER_PREFIX : '';
  const api = createApiClient(parsed.args, { ...io, stderr: silent }, prefix);
  const timeout = new AbortController();
  const cancel = clock.schedule(FETCH_TIMEOUT_MS, () => timeout.abort(), { background: true });
  try {
    const response = api
      .listReplicas({ signal: timeout.signal })
      .then(({ replicas }) => replicas.map(({ listed }) => listed.replica));
    return await Promise.race([
      response,
      new Promise<[]>((resolve) => timeout.signal.addEventListener('abort', () => resolve([]))),
    ]);
  } finally {
    cancel();
    api.close();
  }
}
