import { SerializedReplica } from '../../src/api/serialized-replica.js';
import { asReplicaId } from '../../src/core/ids.js';
import type { DeclaredState } from '../../src/core/replica.js';
import { TokenSet } from '../../src/credentials/token-set.js';
import type { ScalarPairs } from '../../src/json/capability-json.js';
import { VERSION } from '../../src/version.js';
import { startTestApiServer, type TestApiServer } from './api-server.js';
import { serializedReplica, withEndpoint } from './replicas.js';

/** An API server with a fleet that has some of everything. */
export interface DemoFleet {
  readonly url: string;
  /** Another server, which needs a token. */
  readonly urlWithToken: string;
  readonly server: TestApiServer;
  /** Removes the only replica of a model. */
  loseModel(): Promise<unknown>;
  close(): Promise<void>;
}

/** A model of the fleet: its capability, how many of its replicas there are, and the range of hosts that they run on. */
interface DemoModel {
  readonly capability: ScalarPairs;
  readonly count: number;
  readonly firstHost: number;
}

const MODELS: readonly DemoModel[] = [
  { capability: { model: 'qwen3-32b', type: 'chat', ctx: 131072, gpu: 'h100' }, count: 12, firstHost: 10 },
  { capability: { model: 'llama-3.3-70b', type: 'chat', ctx: 32768, gpu: 'h100' }, count: 8, firstHost: 22 },
  { capability: { model: 'mistral-small', type: 'chat', ctx: 32768, gpu: 'l40s' }, count: 6, firstHost: 40 },
  { capability: { model: 'bge-m3', type: 'embed', dims: 1024, gpu: 'l4' }, count: 4, firstHost: 60 },
  { capability: { model: 'whisper-large', type: 'audio', gpu: 'l4' }, count: 2, firstHost: 64 },
];

/** States other than ready, by the id of the replica. */
const STATES: Readonly<Record<string, DeclaredState>> = {
  'qwen3-32b-7': 'draining',
  'mistral-small-3': 'unready',
  'whisper-large-1': 'unready',
  'whisper-large-2': 'unready',
};

/** Starts the servers, and registers the fleet. */
export async function startDemoFleet(): Promise<DemoFleet> {
  const program = { version: VERSION, store: 'memory' };
  const tokens = { read: () => new TokenSet(['reader']) };
  const [server, withToken] = await Promise.all([
    startTestApiServer({ program }),
    startTestApiServer({ program, tokens }),
  ]);
  for (const { capability, count, firstHost } of MODELS) {
    for (let n = 1; n <= count; n++) await register(server, capability, n, firstHost + n);
  }
  const { registry } = server;
  await registry.cordons.set(asReplicaId('llama-3.3-70b-5'), { cordoned: true, reason: 'disk is being replaced' });
  const reranker = { model: 'bge-reranker', type: 'rerank', gpu: 'l4' };
  const lease = await register(server, reranker, 1, 67);
  return {
    url: server.url,
    urlWithToken: withToken.url,
    server,
    loseModel: () => registry.release(lease, 'closed'),
    close: async () => {
      await Promise.all([server.close(), withToken.close()]);
    },
  };
}

function register({ registry }: TestApiServer, capability: ScalarPairs, n: number, host: number) {
  const id = `${String(capability['model'])}-${n}`;
  const endpoint = capability['type'] === 'embed' ? `http://10.0.3.${host}:8000/v1` : `10.0.3.${host}:50051`;
  const zone = 'abc'[n % 3] as string;
  const replica = withEndpoint(serializedReplica(id, { ...capability, zone }), endpoint);
  const load = { running: (n * 7 + host) % 15, waiting: n % 6 === 1 ? n % 4 : 0, limit: 16 };
  const terms = { host: `10.0.3.${host}`, ttlMs: 3_600_000, state: STATES[id], load };
  return registry.register(new SerializedReplica(replica), terms, () => {});
}
