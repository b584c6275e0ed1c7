import fc from 'fast-check';
import { expect, it } from 'vitest';
import { SerializedReplica } from '../../src/api/serialized-replica.js';
import { type Capability, listPairs } from '../../src/core/capability.js';
import { explainQuery } from '../../src/core/explainer.js';
import { asInstanceId, asReplicaId, asServerId, type LeaseId } from '../../src/core/ids.js';
import { PreparedFilter } from '../../src/core/index/prepared-filter.js';
import type { RegistryEvent, ServerEvent } from '../../src/core/ports.js';
import { getProtocol } from '../../src/core/protocol.js';
import { Registry } from '../../src/core/registry.js';
import type { RegistryAccess } from '../../src/core/registry-access.js';
import type { RegistryChange } from '../../src/core/registry-changes.js';
import type { DeclaredState, Registration } from '../../src/core/replica.js';
import { createScope, type Scope } from '../../src/core/scope.js';
import { ScopedRegistry } from '../../src/core/scoped-registry.js';
import { EMPTY_SELECTOR } from '../../src/core/selector.js';
import { parseSelector } from '../../src/core/selector-parser.js';
import { formatScalar, parseCapability } from '../../src/json/capability-json.js';
import { parseJson } from '../../src/json/exact-json.js';
import type { JsonObject } from '../../src/json/json-value.js';
import { MemoryStore } from '../../src/store/memory-store.js';
import { EventBus } from '../../src/telemetry/event-bus.js';
import { ManualClock } from '../support/manual-clock.js';
import { createCountingIds, prepareQuery, serializedReplica, TEST_REGISTRY } from '../support/replicas.js';

const IDS = ['r1', 'r2', 'r3', 'r4'];
const KEYS = ['tenant', 'zone', '__proto__', 'constructor'];
/** Values that look like each other as text, and values that are no scalars. */
const VALUES = ['"a"', '"b"', '"1"', '1', '1.0', 'true', '""', '["a"]', 'null', '{"a":1}'];
const TEXTS = ['a', 'b', '1', '1.0', 'true', ''];
const SELECTORS = ['zone', '!zone', 'zone!=a', 'tenant notin (b)', 'zone in (a,1)', 'zone>=1', 'tenant=a,!zone'];

type Operation =
  | {
      readonly kind: 'register';
      /** Whether the process reports itself. */
      readonly isKept: boolean;
      readonly id: string;
      readonly objects: readonly string[];
      readonly state: DeclaredState;
    }
  | { readonly kind: 'update'; readonly id: string; readonly objects: readonly string[] }
  | { readonly kind: 'declare'; readonly id: string; readonly state: DeclaredState }
  | { readonly kind: 'release'; readonly id: string }
  | { readonly kind: 'cordon'; readonly id: string; readonly cordoned: boolean };

const id = fc.constantFrom(...IDS);
const state = fc.constantFrom<DeclaredState[]>('ready', 'ready', 'unready', 'draining');
const INSTANCE = asInstanceId('process');

/** Repeated often, so that an update can leave the objects in a scope as they are. */
const COMMON_OBJECTS = ['{"tenant":"a"}', '{"tenant":"a","zone":"b"}', '{"tenant":"b"}', '{"zone":"b"}'];
const anyObject = fc
  .uniqueArray(fc.tuple(fc.constantFrom(...KEYS), fc.constantFrom(...VALUES)), {
    selector: ([key]) => key,
    maxLength: 3,
  })
  .map((members) => `{${members.map(([key, value]) => `${JSON.stringify(key)}:${value}`).join()}}`);
const object = fc.oneof({ weight: 3, arbitrary: fc.constantFrom(...COMMON_OBJECTS) }, anyObject);
const objects = fc.array(object, { maxLength: 3 });
const operation: fc.Arbitrary<Operation> = fc.oneof(
  fc.record({ kind: fc.constant('register' as const), isKept: fc.boolean(), id, objects, state }),
  fc.record({ kind: fc.constant('update' as const), id, objects }),
  fc.record({ kind: fc.constant('declare' as const), id, state }),
  fc.record({ kind: fc.constant('release' as const), id }),
  fc.record({ kind: fc.constant('cordon' as const), id, cordoned: fc.boolean() }),
);
const anyScope = fc
  .uniqueArray(fc.tuple(fc.constantFrom(...KEYS), fc.constantFrom(...TEXTS)), {
    selector: ([key]) => key,
    minLength: 1,
    maxLength: 2,
  })
  .map(createScope);
const COMMON_SCOPES = [
  [['tenant', 'a']],
  [
    ['tenant', 'a'],
    ['zone', 'b'],
  ],
] as const;
const scope = fc.oneof(fc.constantFrom(...COMMON_SCOPES).map(createScope), anyScope);
const query = fc.array(fc.tuple(fc.constantFrom(...KEYS), fc.constantFrom(...TEXTS)), { maxLength: 2 });
const selector = fc.constantFrom('', ...SELECTORS);

const parseObjects = (texts: readonly string[]): Capability[] =>
  texts.map((text) => parseCapability(parseJson(text) as JsonObject));

/** Selects the capability objects in a scope by their JSON. */
const selectPlainly = ({ pairs }: Scope, capabilities: readonly Capability[]): Capability[] =>
  capabilities.filter(({ source }) => {
    const members = parseJson(source) as JsonObject;
    return listPairs(pairs).every(([key, value]) => formatScalar(members.get(key) ?? null) === value);
  });

/** A registry with its leases by id, and what it reports. */
class Recorded {
  readonly clock: ManualClock;
  readonly events = new EventBus<RegistryEvent | ServerEvent>();
  readonly registry: Registry<SerializedReplica>;
  readonly leases = new Map<string, LeaseId>();

  constructor(clock: ManualClock) {
    this.clock = clock;
    const store = new MemoryStore<SerializedReplica>(TEST_REGISTRY);
    const random = { fraction: () => 0 };
    this.registry = new Registry({ store, clock, random, ids: createCountingIds(), events: this.events });
  }

  async register(replica: SerializedReplica, of?: Registration): Promise<void> {
    const terms = {
      host: 'h',
      ttlMs: 1e9,
      state: of?.state as DeclaredState | undefined,
      cordon: of?.cordon,
      instance: of?.instance,
    };
    this.leases.set(replica.id, await this.registry.register(replica, terms, () => {}));
  }

  async release(replicaId: string): Promise<void> {
    const lease = this.leases.get(replicaId);
    if (lease) await this.registry.release(lease, 'released');
    this.leases.delete(replicaId);
  }

  get(replicaId: string): Registration<SerializedReplica> | undefined {
    return this.registry.find(asReplicaId(replicaId))?.registration;
  }
}

/** Applies operations to a registry, and to a model that only ever holds the objects in a scope. */
class SideBySide {
  readonly clock = new ManualClock();
  readonly whole = new Recorded(this.clock);
  readonly model = new Recorded(this.clock);
  readonly #scope: Scope;
  #seq = 0;

  constructor(of: Scope) {
    this.#scope = of;
  }

  async apply(operation: Operation): Promise<void> {
    this.clock.advance(1000);
    const before = this.whole.get(operation.id);
    const isVisible = this.model.get(operation.id) !== undefined;
    const lease = this.whole.leases.get(operation.id);
    switch (operation.kind) {
      case 'register':
        await this.whole.register(
          new SerializedReplica({ ...serializedReplica(operation.id), capabilities: parseObjects(operation.objects) }),
          {
            state: operation.state,
            instance: operation.isKept ? { id: INSTANCE, startedMs: 0, seq: ++this.#seq } : undefined,
          } as Registration,
        );
        return this.#mirror(operation.id, before, true);
      case 'update': {
        if (!lease) return;
        const capabilities = parseObjects(operation.objects);
        const update = ({ id, endpoint }: SerializedReplica) => new SerializedReplica({ id, endpoint, capabilities });
        await this.whole.registry.renew(lease, undefined, update, ++this.#seq);
        return this.#mirror(operation.id, before, false);
      }
      case 'declare':
        if (!lease) return;
        await this.whole.registry.renew(lease, operation.state, undefined, ++this.#seq);
        if (isVisible) {
          const own = this.model.leases.get(operation.id) as LeaseId;
          await this.model.registry.renew(own, operation.state, undefined, this.#seq);
        }
        return;
      case 'release':
        await this.whole.release(operation.id);
        return this.model.release(operation.id);
      case 'cordon': {
        const change = { cordoned: operation.cordoned, reason: 'x' };
        if (before) await this.whole.registry.cordons.set(asReplicaId(operation.id), change);
        if (before && isVisible) await this.model.registry.cordons.set(asReplicaId(operation.id), change);
      }
    }
  }

  /** Repeats a registration or an update in the model, with the objects in the scope. */
  async #mirror(replicaId: string, before: Registration | undefined, isNew: boolean): Promise<void> {
    const after = this.whole.get(replicaId) as Registration<SerializedReplica>;
    const select = (one: Registration): readonly Capability[] => selectPlainly(this.#scope, one.replica.capabilities);
    const capabilities = select(after);
    if (capabilities.length === 0) return this.model.release(replicaId);
    const replica = new SerializedReplica({
      ...after.replica,
      id: after.replica.id,
      endpoint: after.replica.endpoint,
      capabilities,
    });
    const lease = this.model.leases.get(replicaId);
    if (isNew || !lease || !before) return this.model.register(replica, after);
    const isPure = [before, after].every((one) => select(one).length === one.replica.capabilities.length);
    const isSame = JSON.stringify(select(before)) === JSON.stringify(capabilities);
    if (isPure || !isSame) await this.model.registry.renew(lease, undefined, () => replica, this.#seq);
  }
}

/** Leaves out the number of the last change, which counts the changes of other objects too. */
const describe = ({ replica, state: is, cordon }: Registration<SerializedReplica>): unknown[] => [
  replica.listEntry,
  is,
  cordon,
];

const listAll = (registry: RegistryAccess<SerializedReplica>): unknown[][] =>
  [...registry.known()].map(({ registration }) => describe(registration));

function explain(registry: RegistryAccess<SerializedReplica>, pairs: readonly string[], where: string): unknown {
  const replicas = [...registry.known()].map(({ registration: { replica, state: is, cordon } }) => {
    const { id: replicaId, capabilities, endpoint } = replica;
    return { id: replicaId, capabilities, protocol: getProtocol(endpoint), state: is, cordon };
  });
  return explainQuery(pairs, replicas, { selector: where === '' ? EMPTY_SELECTOR : parseSelector(where, 'where') });
}

/** Returns the ids that a registry can choose, by excluding those that it has chosen. */
function chooseAll(registry: RegistryAccess<SerializedReplica>, pairs: readonly string[], where: string): string[] {
  const chosen = new Set<SerializedReplica['id']>();
  for (;;) {
    const filter = new PreparedFilter({
      query: pairs,
      selector: where === '' ? EMPTY_SELECTOR : parseSelector(where, 'where'),
    });
    const result = registry.search([filter], chosen);
    const viaRoute =
      where === '' ? registry.route(prepareQuery(Object.fromEntries(listPairs(pairs))), chosen) : undefined;
    const found = result.kind === 'found' ? result.registration.replica : undefined;
    if (where === '') expect(viaRoute?.id).toBe(found?.id);
    if (!found || chosen.has(found.id)) return [...chosen].sort();
    chosen.add(found.id);
  }
}

const describeChange = ({ replicaId, registration, previous }: RegistryChange<SerializedReplica>): unknown[] => [
  replicaId,
  registration && describe(registration),
  previous && describe(previous),
];

/** Returns the parts of an event that don't depend on leases and on how a registry comes to hold fewer objects. */
function describeEvent(event: RegistryEvent | ServerEvent): unknown[] {
  const { kind, replicaId, count } = event as { kind: string; replicaId?: string; count?: number };
  return [kind, replicaId, count];
}

function createScoped({ registry, clock: _ }: Recorded, of: Scope): ScopedRegistry<SerializedReplica> {
  return new ScopedRegistry({
    registry,
    scope: of,
    narrow: ({ id: replicaId, endpoint }, capabilities) =>
      new SerializedReplica({ id: replicaId, endpoint, capabilities }),
    random: { fraction: () => 0 },
    epoch: asServerId('scoped'),
  });
}

it('has the results, changes and events of a registry that holds only the objects in the scope', async () => {
  const asked = fc.array(fc.tuple(query, selector), { minLength: 1, maxLength: 5 });
  const property = fc.asyncProperty(
    scope,
    fc.array(operation, { maxLength: 25 }),
    asked,
    async (of, operations, asks) => {
      const both = new SideBySide(of);
      const scoped = createScoped(both.whole, of);
      const [scopedChanges, modelChanges, scopedEvents, modelEvents]: unknown[][][] = [[], [], [], []];
      scoped.changes.subscribe((change) => scopedChanges?.push(describeChange(change)));
      both.model.registry.changes.subscribe((change) => modelChanges?.push(describeChange(change)));
      both.whole.events.subscribe((event) => {
        const selected = scoped.selectEvent(event);
        if (selected) scopedEvents?.push(describeEvent(selected));
      });
      both.model.events.subscribe((event) => modelEvents?.push(describeEvent(event)));
      for (const one of operations) await both.apply(one);
      expect(listAll(scoped)).toEqual(listAll(both.model.registry));
      expect(scopedChanges).toEqual(modelChanges);
      const isNoCordon = ([kind]: unknown[]): boolean => !String(kind).endsWith('cordoned');
      expect(scopedEvents?.filter(isNoCordon)).toEqual(modelEvents?.filter(isNoCordon));
      const late = createScoped(both.whole, of);
      expect(listAll(late).map(String).sort()).toEqual(listAll(scoped).map(String).sort());
      for (const [entries, where] of asks) {
        const pairs = [...new Map(entries)].flat();
        expect(chooseAll(scoped, pairs, where)).toEqual(chooseAll(both.model.registry, pairs, where));
        expect(explain(scoped, pairs, where)).toEqual(explain(both.model.registry, pairs, where));
      }
    },
  );
  await fc.assert(property, { numRuns: 1500 });
});
