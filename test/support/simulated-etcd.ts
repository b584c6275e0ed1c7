import type { Clock } from '../../src/core/ports.js';
import { type EtcdApi, EtcdError, type StreamListener } from '../../src/store/etcd/etcd-api.js';
import {
  type Compare,
  Compare_CompareTarget,
  type Event,
  Event_EventType,
  type KeyValue,
  type RangeRequest,
  type RangeResponse,
  type RequestOp,
  type ResponseOp,
  type TxnRequest,
  type TxnResponse,
  type WatchCreateRequest,
  type WatchResponse,
} from '../../src/store/etcd/gen/etcd.js';

interface Watch {
  readonly request: WatchCreateRequest;
  readonly listener: StreamListener<WatchResponse>;
  /** First revision that was not sent. */
  next: bigint;
}

/** The part of etcd that the store uses, in memory: revisions, transactions, leases, watches, compaction. */
export class SimulatedEtcd {
  clusterId = 1n;
  /** The number of operations on the first level, and the size of the values, of each transaction. */
  readonly requests: { readonly operations: number; readonly bytes: number }[] = [];
  /** Whether the quota is reached: puts on the first level of a transaction, and new leases, are errors. Nested puts are not counted. */
  isFull = false;
  /** Called with each value that a request deletes. */
  onDelete: (value: string) => void = () => {};
  #revision = 1n;
  #compacted = 0n;
  #kvs = new Map<string, KeyValue>();
  #events: Event[] = [];
  readonly #leases = new Map<bigint, () => void>();
  readonly #watches = new Set<Watch>();
  #nextLease = 1000n;
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Returns the keys with their values as text. */
  dump(): Record<string, string> {
    return Object.fromEntries([...this.#kvs].map(([key, { value }]) => [key, Buffer.from(value).toString()]));
  }

  get revision(): bigint {
    return this.#revision;
  }

  get leases(): bigint[] {
    return [...this.#leases.keys()];
  }

  range({ key, rangeEnd, limit, revision }: RangeRequest): RangeResponse {
    const [from, to] = [toText(key), toText(rangeEnd)];
    const isIn = (name: string): boolean => (to === '' ? name === from : name >= from && name < to);
    const found = [...this.#kvs].filter(([name]) => isIn(name)).sort(([a], [b]) => (a < b ? -1 : 1));
    if (revision > 0n && revision < this.#revision) return this.#rangeAt(revision, isIn, limit);
    const kvs = found.map(([, kv]) => kv);
    return { header: this.#header(), ...page(kvs, limit) };
  }

  txn(request: TxnRequest): TxnResponse {
    const [operations, bytes] = measure(request);
    if (operations > 128) throw new EtcdError('rejected', 'etcdserver: too many operations in txn request');
    if (bytes > 1.5 * 1024 * 1024) throw new EtcdError('rejected', 'etcdserver: request is too large');
    this.requests.push({ operations, bytes });
    if (request.success.some(({ request: each }) => each?.$case === 'requestPut')) this.#checkSpace();
    this.#check(request);
    const next = this.#revision + 1n;
    const changes: Event[] = [];
    const response = this.#run(request, next, changes);
    this.#commit(changes);
    return { ...response, header: this.#header() };
  }

  /** Grants a lease. It ends after its TTL unless it is renewed. */
  grant(ttlS: number): bigint {
    this.#checkSpace();
    const lease = this.#nextLease++;
    this.#arm(lease, ttlS);
    return lease;
  }

  /** Renews a lease; returns its TTL, or 0 for one that has ended. */
  renew(lease: bigint, ttlS = 15): bigint {
    if (!this.#leases.has(lease)) return 0n;
    this.#leases.get(lease)?.();
    this.#arm(lease, ttlS);
    return BigInt(ttlS);
  }

  /** Ends a lease: all its keys go in one revision. */
  revoke(lease: bigint): void {
    if (!this.#leases.has(lease)) return;
    this.#leases.get(lease)?.();
    this.#leases.delete(lease);
    const next = this.#revision + 1n;
    const keys = [...this.#kvs.values()].filter((kv) => kv.lease === lease).map(({ key }) => key);
    this.#commit(keys.map((key) => this.#remove(key, next)));
  }

  watch(request: WatchCreateRequest, listener: StreamListener<WatchResponse>): () => void {
    const watch = { request, listener, next: request.startRevision };
    const base = { header: this.#header(), created: true, canceled: false, compactRevision: 0n };
    const rest = { cancelReason: '', fragment: false, events: [] };
    if (request.startRevision <= this.#compacted) {
      listener.onResponse({ ...base, ...rest, canceled: true, compactRevision: this.#compacted });
      return () => {};
    }
    listener.onResponse({ ...base, ...rest });
    this.#watches.add(watch);
    this.#send(watch);
    return () => this.#watches.delete(watch);
  }

  /** Forgets all revisions before the present one. */
  compact(): void {
    this.#compacted = this.#revision;
    this.#events = [];
  }

  /** Returns a copy of the data, as a backup. */
  backUp(): () => void {
    const [kvs, revision] = [new Map(this.#kvs), this.#revision];
    return () => {
      this.#kvs = new Map(kvs);
      this.#revision = revision;
      this.#events = [];
      for (const { listener } of this.#watches) listener.onEnd(new EtcdError('unreachable', 'restored'));
      this.#watches.clear();
    };
  }

  /** Ends all watches, as a member that stops does. */
  breakWatches(): void {
    const watches = [...this.#watches];
    this.#watches.clear();
    for (const { listener } of watches) listener.onEnd(new EtcdError('unreachable', 'connection reset'));
  }

  #checkSpace(): void {
    if (this.isFull) throw new EtcdError('no_space', 'etcdserver: mvcc: database space exceeded');
  }

  #arm(lease: bigint, ttlS: number): void {
    this.#leases.set(
      lease,
      this.#clock.schedule(ttlS * 1000, () => this.revoke(lease), { background: true }),
    );
  }

  #rangeAt(revision: bigint, isIn: (name: string) => boolean, limit: bigint): RangeResponse {
    const kvs = new Map([...this.#kvs].filter(([name, kv]) => isIn(name) && kv.modRevision <= revision));
    for (const { kv, type } of this.#events) {
      if (!kv || kv.modRevision > revision || !isIn(toText(kv.key))) continue;
      if (type === Event_EventType.DELETE) kvs.delete(toText(kv.key));
      else kvs.set(toText(kv.key), kv);
    }
    const sorted = [...kvs].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, kv]) => kv);
    return { header: this.#header(), ...page(sorted, limit) };
  }

  /** Checks the operations that would run, as etcd does before it runs any. */
  #check({ compare, success, failure }: TxnRequest): void {
    for (const { request } of this.#compare(compare) ? success : failure) {
      if (request?.$case === 'requestTxn') this.#check(request.value);
      if (request?.$case !== 'requestPut') continue;
      const { lease, ignoreLease, key } = request.value;
      if (lease !== 0n && !this.#leases.has(lease)) {
        throw new EtcdError('lease_lost', 'etcdserver: requested lease not found');
      }
      if (ignoreLease && !this.#kvs.has(toText(key))) throw new EtcdError('rejected', 'etcdserver: key not found');
    }
  }

  #run({ compare, success, failure }: TxnRequest, revision: bigint, changes: Event[]): TxnResponse {
    const succeeded = this.#compare(compare);
    const responses = (succeeded ? success : failure).map((op) => this.#runOne(op, revision, changes));
    return { header: this.#header(), succeeded, responses };
  }

  #runOne({ request }: RequestOp, revision: bigint, changes: Event[]): ResponseOp {
    const header = this.#header();
    switch (request?.$case) {
      case 'requestRange':
        return { response: { $case: 'responseRange', value: this.range(request.value) } };
      case 'requestTxn':
        return { response: { $case: 'responseTxn', value: this.#run(request.value, revision, changes) } };
      case 'requestDeleteRange': {
        const present = this.#kvs.get(toText(request.value.key));
        const exists = present !== undefined;
        if (exists) this.onDelete(toText(present.value));
        if (exists) changes.push(this.#remove(request.value.key, revision));
        return { response: { $case: 'responseDeleteRange', value: { header, deleted: exists ? 1n : 0n } } };
      }
      case 'requestPut': {
        const { key, value, lease, ignoreLease } = request.value;
        const present = this.#kvs.get(toText(key));
        const kv: KeyValue = {
          key: Uint8Array.from(key),
          value: Uint8Array.from(value),
          createRevision: present?.createRevision ?? revision,
          modRevision: revision,
          version: (present?.version ?? 0n) + 1n,
          lease: ignoreLease ? (present?.lease ?? 0n) : lease,
        };
        this.#kvs.set(toText(key), kv);
        changes.push({ type: Event_EventType.PUT, kv });
        return { response: { $case: 'responsePut', value: { header } } };
      }
      default:
        throw new Error('unknown operation');
    }
  }

  #compare(compares: readonly Compare[]): boolean {
    return compares.every(({ target, key, targetUnion }) => {
      const present = this.#kvs.get(toText(key));
      const actual = target === Compare_CompareTarget.MOD ? present?.modRevision : present?.version;
      const expected = Object.values(targetUnion ?? {}).find((value) => typeof value === 'bigint');
      return (actual ?? 0n) === expected;
    });
  }

  #remove(key: Uint8Array, revision: bigint): Event {
    this.#kvs.delete(toText(key));
    const kv = { key, value: new Uint8Array(), createRevision: 0n, modRevision: revision, version: 0n, lease: 0n };
    return { type: Event_EventType.DELETE, kv };
  }

  #commit(changes: readonly Event[]): void {
    if (changes.length === 0) return;
    this.#revision++;
    this.#events.push(...changes);
    for (const watch of [...this.#watches]) this.#send(watch);
  }

  #send(watch: Watch): void {
    const [from, to] = [toText(watch.request.key), toText(watch.request.rangeEnd)];
    const events = this.#events.filter(({ kv }) => {
      const name = toText(kv?.key ?? new Uint8Array());
      return kv !== undefined && kv.modRevision >= watch.next && name >= from && name < to;
    });
    watch.next = this.#revision + 1n;
    if (events.length === 0) return;
    const facts = { created: false, canceled: false, compactRevision: 0n, cancelReason: '', fragment: false };
    watch.listener.onResponse({ header: this.#header(), ...facts, events });
  }

  #header() {
    return { clusterId: this.clusterId, memberId: 1n, revision: this.#revision };
  }
}

/** Network between one API server and a simulated etcd. */
export interface SimulatedLink {
  /** Delay of each message, in ms. */
  delayMs: () => number;
  /** Whether nothing gets through: no answer, and silent streams. */
  isCut: boolean;
  /** Whether requests arrive and their responses are lost. */
  losesResponses: boolean;
  /** Called with each transaction that is sent, whether it arrives or not. */
  onTxn: (request: TxnRequest) => void;
}

/** Creates a client of a simulated etcd, and the link that it uses. */
export function connectSimulatedEtcd(etcd: SimulatedEtcd, clock: Clock): EtcdApi & { readonly link: SimulatedLink } {
  const link: SimulatedLink = { delayMs: () => 0, isCut: false, losesResponses: false, onTxn() {} };
  const later = (task: () => void): void => void clock.schedule(link.delayMs(), task);
  const call = <T>(run: () => T): Promise<T> =>
    new Promise((resolve, reject) => {
      const cancel = clock.schedule(2000, () => reject(new EtcdError('unreachable', 'Deadline exceeded')), {
        background: true,
      });
      if (link.isCut) return;
      later(() => {
        let respond: () => void;
        try {
          const result = run();
          respond = () => resolve(result);
        } catch (error) {
          respond = () => reject(error);
        }
        if (link.losesResponses) return;
        later(() => {
          if (link.isCut) return;
          cancel();
          respond();
        });
      });
    });
  /** Delivers responses in order, none after the cancellation, and none after one that a cut link has swallowed. */
  const guard = <T>(listener: StreamListener<T>) => {
    let isOver = false;
    let lastAtMs = 0;
    const deliver = (task: () => void): void => {
      const atMs = Math.max(clock.nowMs() + link.delayMs(), lastAtMs);
      lastAtMs = atMs;
      clock.schedule(atMs - clock.nowMs(), () => {
        if (link.isCut) isOver = true;
        if (!isOver) task();
      });
    };
    const guarded: StreamListener<T> = {
      onResponse: (response) => deliver(() => listener.onResponse(response)),
      onEnd: (error) =>
        deliver(() => {
          isOver = true;
          listener.onEnd(error);
        }),
    };
    const end = (): void => {
      isOver = true;
    };
    return { guarded, end };
  };
  return {
    link,
    range: (request) => call(() => etcd.range(request)),
    txn(request) {
      link.onTxn(request);
      return call(() => etcd.txn(request));
    },
    grantLease: (ttlS) => call(() => ({ header: undefined, ID: etcd.grant(ttlS), TTL: BigInt(ttlS) })),
    revokeLease: (lease) => call(() => etcd.revoke(lease)),
    openKeepAlive(listener) {
      const { guarded, end } = guard(listener);
      const send = (lease: bigint): void => {
        if (!link.isCut) later(() => guarded.onResponse({ header: undefined, ID: lease, TTL: etcd.renew(lease) }));
      };
      return { send, cancel: end, abandon: end };
    },
    openWatch(request, listener) {
      const { guarded, end } = guard(listener);
      let stop = (): void => {};
      if (!link.isCut)
        later(() => {
          stop = etcd.watch(request, guarded);
        });
      const cancel = (): void => {
        end();
        stop();
      };
      return { send: () => {}, cancel, abandon: cancel };
    },
    close() {},
  };
}

function page(kvs: readonly KeyValue[], limit: bigint): { kvs: KeyValue[]; more: boolean } {
  const count = limit === 0n ? kvs.length : Number(limit);
  return { kvs: kvs.slice(0, count), more: kvs.length > count };
}

function toText(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString();
}
/** Returns the number of operations of a transaction on its first level, and the size of all values in it. */
function measure({ success, failure }: TxnRequest): [operations: number, bytes: number] {
  let bytes = 0;
  for (const { request } of [...success, ...failure]) {
    if (request?.$case === 'requestPut') bytes += request.value.value.length;
    if (request?.$case === 'requestTxn') bytes += measure(request.value)[1];
  }
  return [Math.max(success.length, failure.length), bytes];
}
