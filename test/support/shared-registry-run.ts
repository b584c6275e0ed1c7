import type { ApiClient } from '../../src/client/api-client.js';
import type { LeaseKeeper } from '../../src/client/lease-keeper.js';
import { createApiClient, lookUp } from './api-client.js';
import { EtcdCluster } from './etcd-cluster.js';
import { measureTimeAtEach, readRemovals } from './fleet.js';
import { findOldRegistrations, findSelfTakeovers, findUnsettledIds } from './instance-checks.js';
import { LeaseProbes } from './lease-probes.js';
import { RunRecorder } from './recorded-run.js';
import type { Recording } from './recording.js';
import { type RepeatedRequests, repeatRequests } from './repeated-requests.js';
import { query, replica } from './replicas.js';
import { keepRegistered, RestartableServer } from './restartable-server.js';
import { RestrictedView } from './restricted-view.js';
import { findLostTableEntries, findMissingReplicas, measureLongestOmission } from './run-checks.js';
import { createSwitchedNetwork, type SwitchedHost, type SwitchedNetwork } from './switched-network.js';
import { formatTime } from './time-spans.js';

/** An API server of a run, and the host on which it runs. */
export interface SharingServer {
  readonly server: RestartableServer;
  readonly host: SwitchedHost;
}

/** Number of replicas that stay registered during the whole run. */
const REPLICAS = 1000;

const LOOKUPS_PER_SECOND = 200;

/** Number of replicas that come, and number of those that leave, at each change of the fleet. */
const CHANGED = 5;

/** Documented time after which all API servers list all connected replicas, once etcd and they are back. */
const AGREEMENT_MS = 5000;

/** Documented time after which a replica is gone that closed while its server or etcd was down: the TTL and 10 s. */
const REMOVAL_MS = 25_000;

/** The start of the last run. */
let lastStart: Promise<unknown> = Promise.resolve();

/** Time for which an id of two processes must have one holder at the end of a run, in ms. */
const QUIET_MS = 10_000;

/**
 * Three API servers that share a registry in a cluster of three etcd members, each on a separate host, with 1,000 replicas and
 * lookups of them. It is observed from outside: see {@link RunRecorder}, {@link LeaseProbes} and {@link RestrictedView}.
 */
export class SharedRegistryRun {
  readonly cluster: EtcdCluster;
  readonly servers: readonly SharingServer[];
  readonly #recorder: RunRecorder;
  readonly #network: SwitchedNetwork;
  readonly #apis: readonly ApiClient[];
  readonly #keepers: LeaseKeeper[] = [];
  readonly #guests = new Map<string, LeaseKeeper>();
  readonly #view: RestrictedView;
  readonly #probes: LeaseProbes;
  #lookups: RepeatedRequests | undefined;
  #guestsSoFar = 0;

  private constructor(
    network: SwitchedNetwork,
    cluster: EtcdCluster,
    servers: readonly SharingServer[],
    recorder: RunRecorder,
    view: RestrictedView,
  ) {
    this.#view = view;
    this.#network = network;
    this.cluster = cluster;
    this.servers = servers;
    this.#recorder = recorder;
    const urls = servers.map(({ server }) => server.url);
    this.#apis = urls.map((_, n) => createApiClient([...urls.slice(n), ...urls.slice(0, n)]));
    this.#probes = new LeaseProbes(urls);
    this.#keepReplicas();
    recorder.recordTable(urls);
  }

  /**
   * Starts everything, and waits until all API servers list all replicas. Runs start one after the other, and break nothing until all
   * have started: a start is the most work.
   */
  static async start(): Promise<SharedRegistryRun> {
    const run = lastStart.then(() => SharedRegistryRun.#startAlone());
    lastStart = run.catch(() => {});
    await run;
    await lastStart;
    return run;
  }

  static async #startAlone(): Promise<SharedRegistryRun> {
    const network = createSwitchedNetwork();
    const cluster = await EtcdCluster.start(network);
    const recorder = new RunRecorder();
    const servers = [1, 2, 3].map(() => {
      const host = network.addHost();
      const args = ['--store', cluster.address];
      return { host, server: new RestartableServer({ host, args, port: 8080 }, recorder) };
    });
    await Promise.all(servers.map(({ server }) => server.start()));
    const view = await RestrictedView.start(cluster.address, network.addHost());
    const run = new SharedRegistryRun(network, cluster, servers, recorder, view);
    await Promise.all([run.changeFleet(), run.#probes.hold()]);
    await run.#waitForList('all servers list the fleet', 60_000, 'exactly');
    run.#startChecks();
    return run;
  }

  /** Lets replicas leave that came at an earlier change, and others come. */
  async changeFleet(): Promise<void> {
    const leaving = [...this.#guests].slice(0, CHANGED);
    for (const [id] of leaving) this.#guests.delete(id);
    await Promise.all(leaving.flatMap(([id, keeper]) => [keeper.stop(), this.#view.remove(id)]));
    for (let n = 0; n < CHANGED; n++) {
      const id = `guest${++this.#guestsSoFar}`;
      this.#guests.set(id, keepRegistered(this.#pickApi(this.#guestsSoFar), RestrictedView.createGuest(id)));
      this.#view.add(id);
    }
  }

  /** Expects that all API servers agree on the connected replicas soon after a failure, and drop what left meanwhile. */
  async expectAgreement(what: string): Promise<void> {
    const beganAtMs = performance.now();
    await this.#waitForList(`after ${what}, all connected replicas are listed`, AGREEMENT_MS, 'at least');
    await this.#probes.hold();
    const leftMs = REMOVAL_MS - (performance.now() - beganAtMs);
    await this.#waitForList(`after ${what}, what left is gone`, leftMs, 'exactly');
    await this.#view.expectSameAnswers(`after ${what}`, AGREEMENT_MS);
  }

  /** Ends the run. Returns the violations of what the documentation promises. */
  async finish(): Promise<string[]> {
    const quietAtMs = this.#recorder.nowMs;
    await new Promise((resolve) => setTimeout(resolve, QUIET_MS));
    const recording = await this.#recorder.stop();
    await this.#probes.expectReleases();
    console.info(`measured: responses to renewals through all servers: ${JSON.stringify(this.#probes.statuses)}`);
    const lookups = this.#lookups as RepeatedRequests;
    await lookups.stop();
    const longestMs = Math.round(measureLongestOmission(recording));
    console.info(`measured: ${lookups.getCount()} lookups; the longest took ${Math.round(lookups.getLongestMs())} ms`);
    console.info(`measured: ${recording.events.length} events; a server missed a replica for ${longestMs} ms at most`);
    return [
      ...lookups.failures.map((failure) => `a lookup failed: ${failure}`),
      ...this.servers.flatMap(({ server }) => readLosses(server)),
      ...(await this.#probes.stop()),
      ...(await this.#view.stop()),
      ...findMissingReplicas(recording),
      ...findOldRegistrations(recording),
      ...findSelfTakeovers(recording),
      ...findLostTableEntries(omitProbes(recording)),
      ...findUnsettledIds(recording, quietAtMs),
    ];
  }

  /** Ends all processes. */
  async stop(): Promise<void> {
    await Promise.all([this.#recorder.stop(), this.#lookups?.stop(), this.#probes.stop(), this.#view.stop()]);
    await Promise.all([...this.#keepers, ...this.#guests.values()].map((keeper) => keeper.stop()));
    for (const api of this.#apis) api.close();
    this.#network.remove();
  }

  #pickApi(n: number): ApiClient {
    return this.#apis[n % this.#apis.length] as ApiClient;
  }

  /** Keeps the replicas, a third of them with each server, and one id of two processes. */
  #keepReplicas(): void {
    for (let n = 0; n < REPLICAS; n++) {
      this.#keepers.push(keepRegistered(this.#pickApi(n), replica(`kept${n}`, { type: 'kept', number: n })));
    }
    for (const n of [0, 1]) this.#keepers.push(keepRegistered(this.#pickApi(n), replica('twin', { type: 'twin' })));
  }

  /** Begins to check what the servers list. On a busy machine, the first registrations take longer than any later one. */
  #startChecks(): void {
    this.#lookups = this.#startLookups();
    for (let n = 0; n < REPLICAS; n++) {
      this.#recorder.record({ kind: 'keeper-started', id: `kept${n}`, keeper: `kept${n}` });
    }
    for (const keeper of ['one', 'other']) this.#recorder.record({ kind: 'keeper-started', id: 'twin', keeper });
  }

  /** Looks one replica after the other up. */
  #startLookups(): RepeatedRequests {
    const [api] = this.#apis as [ApiClient];
    const isFound = new Set<number>();
    let next = 0;
    return repeatRequests(LOOKUPS_PER_SECOND, async () => {
      const number = next++ % REPLICAS;
      const found = await lookUp(api, query({ type: 'kept', number: String(number) }));
      if (found.kind !== 'none') isFound.add(number);
      else if (isFound.has(number))
        throw new Error(`no server knows kept${number} ${formatTime(this.#recorder.nowMs)}`);
    });
  }

  async #waitForList(what: string, withinMs: number, how: 'exactly' | 'at least'): Promise<void> {
    const processes = this.servers.map(({ server }) => server.process);
    await measureTimeAtEach(what, withinMs, processes, async (process) => {
      // The lists are large, and reading them must not be what the run waits for.
      await new Promise((resolve) => setTimeout(resolve, 250));
      const listed = new Set(await process.listReplicaIds());
      const expected = REPLICAS + 1 + this.#guests.size + this.#probes.count;
      if (how === 'exactly' && listed.size !== expected) return false;
      const isListed = (id: string): boolean => listed.has(id);
      return [...this.#guests.keys(), 'twin'].every(isListed) && countKept(listed) === REPLICAS;
    });
  }
}

/** Omits the probes, whose registrations have no instance: when one registers again, it leaves the table and comes back. */
function omitProbes({ events, endMs }: Recording): Recording {
  return { events: events.filter((event) => !('id' in event && event.id.startsWith('probe'))), endMs };
}

function countKept(ids: Iterable<string>): number {
  return [...ids].filter((id) => id.startsWith('kept')).length;
}

/** Returns the log lines about removed replicas whose keepers ran. */
function readLosses(server: RestartableServer): string[] {
  return readRemovals(server.process).filter((line) => / removed "kept/.test(line) && !line.includes(': reregistered'));
}
