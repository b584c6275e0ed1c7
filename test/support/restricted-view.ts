import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ApiClient } from '../../src/client/api-client.js';
import type { LeaseKeeper } from '../../src/client/lease-keeper.js';
import { createApiClient } from './api-client.js';
import { type ServerPlace, type ServerProcess, startServer } from './fleet.js';
import { replica } from './replicas.js';
import { keepRegistered } from './restartable-server.js';
import { until } from './until.js';

const TOKEN = 'a-read-token-of-the-test';

/** The pair of the capability objects that the token can see. */
const PERMITTED = { type: 'guest' };

/** Queries for permitted objects and for others. Responses about the first `GUEST` are the same, because it is one replica. */
const QUERIES = ['type=kept&number=1', 'type=hidden', 'type=twin', 'type=guest&model=none', 'type=guest&number='];

/**
 * An API server of a shared registry, asked with a token that is limited to some capability objects, and an API server that holds
 * only these objects. They must have the same answers.
 */
export class RestrictedView {
  readonly #server: ServerProcess;
  readonly #alone: ServerProcess;
  readonly #api: ApiClient;
  readonly #guests = new Map<string, LeaseKeeper>();
  readonly #stop = new AbortController();
  readonly #violations: string[] = [];

  private constructor(server: ServerProcess, alone: ServerProcess) {
    this.#server = server;
    this.#alone = alone;
    this.#api = createApiClient(alone.url);
    void this.#watch();
  }

  /** Starts both servers. The first one shares the registry in this store. */
  static async start(store: string, host: ServerPlace['host']): Promise<RestrictedView> {
    const tokens = join(mkdtempSync(join(tmpdir(), 'anyserve-tokens-')), 'read');
    writeFileSync(tokens, `${TOKEN} prefix=x type=${PERMITTED.type}\n`, { mode: 0o600 });
    const [server, alone] = await Promise.all([
      startServer({ host, args: ['--store', store, '--read-token-file', tokens] }),
      startServer(),
    ]);
    return new RestrictedView(server, alone);
  }

  /** Creates a guest: a replica of the shared registry with a permitted object and another one. */
  static createGuest(id: string): ReturnType<typeof replica> {
    return replica(id, { ...PERMITTED, number: id }, { type: 'hidden' });
  }

  /** Registers the permitted object of a guest at the server that holds nothing else. */
  add(id: string): void {
    this.#guests.set(id, keepRegistered(this.#api, replica(id, { ...PERMITTED, number: id })));
  }

  /** Removes a guest from the server that holds only permitted objects. */
  async remove(id: string): Promise<void> {
    await this.#guests.get(id)?.stop();
    this.#guests.delete(id);
  }

  /** Expects that both servers have the same answers within a time. */
  async expectSameAnswers(what: string, withinMs: number): Promise<void> {
    const [guest = ''] = this.#guests.keys();
    const paths = ['/registry', ...QUERIES.map((query) => `/route?${query.replace(/number=$/, `number=${guest}`)}`)];
    await until(
      `${what}, a limited token has the answers of a server that holds only what it permits`,
      async () => {
        const ask = (server: ServerProcess) => Promise.all(paths.map((path) => fetchSorted(`${server.url}${path}`)));
        const [limited, alone] = await Promise.all([ask(this.#server), ask(this.#alone)]);
        return JSON.stringify(limited) === JSON.stringify(alone);
      },
      withinMs,
    );
  }

  /** Ends everything. Returns what the token has seen although it is not permitted. */
  async stop(): Promise<readonly string[]> {
    this.#stop.abort();
    await Promise.all([...this.#guests.keys()].map((id) => this.remove(id)));
    this.#api.close();
    return this.#violations;
  }

  /** Follows the changes that the token can see, and records each that is about something else. */
  async #watch(): Promise<void> {
    const { signal } = this.#stop;
    try {
      const response = await fetch(`${this.#server.url}/watch`, { headers: AUTHORIZATION, signal });
      for await (const bytes of response.body ?? []) {
        const text = Buffer.from(bytes).toString();
        if (/kept|twin|probe|hidden/.test(text))
          this.#violations.push(`a limited token received ${text.slice(0, 200)}`);
      }
      this.#violations.push('the watch with a limited token ended');
    } catch (error) {
      if (!signal.aborted) this.#violations.push(`the watch with a limited token ended: ${String(error)}`);
    }
  }
}

const AUTHORIZATION = { authorization: `Bearer ${TOKEN}` };

/** Fetches a path with the token. Returns the status and the body, in which the replicas are sorted. */
async function fetchSorted(url: string): Promise<readonly [status: number, body: unknown]> {
  const response = await fetch(url, { headers: AUTHORIZATION });
  const body = (await response.json()) as { readonly replicas?: readonly { readonly replica_id: string }[] };
  const replicas = body.replicas?.toSorted((a, b) => (a.replica_id < b.replica_id ? -1 : 1));
  return [response.status, replicas ? { replicas } : body];
}
