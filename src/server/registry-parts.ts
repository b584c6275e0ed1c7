import { serializeHistoryEvent } from '../api/event-json.js';
import { SerializedReplica } from '../api/serialized-replica.js';
import type { Clock, Ids, Random, RegistryEvent, ServerEvent } from '../core/ports.js';
import type { Registry } from '../core/registry.js';
import type { RegistryAccess } from '../core/registry-access.js';
import { type Scope, WHOLE_REGISTRY } from '../core/scope.js';
import { ScopedRegistry } from '../core/scoped-registry.js';
import type { EventBus } from '../telemetry/event-bus.js';
import { EventHistory } from '../telemetry/event-history.js';

/** The part of a history that requests read. */
export type ReadableHistory = Omit<EventHistory<never>, 'record'>;

/** A part of the registry, and the history of that part. Handlers have no other access to them. */
export interface RegistryPart {
  readonly registry: RegistryAccess<SerializedReplica>;
  readonly history: ReadableHistory;
}

type AnyEvent = RegistryEvent | ServerEvent;

/** Dependencies of {@link RegistryParts}. */
export interface RegistryPartsOptions {
  readonly registry: Registry<SerializedReplica>;
  /** The events of the registry and the server. */
  readonly events: Pick<EventBus<AnyEvent>, 'subscribe'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly ids: Ids;
}

/** The parts of a registry that tokens can use: one for each scope, and the whole. */
export class RegistryParts {
  readonly registry: Registry<SerializedReplica>;
  readonly whole: RegistryPart;
  readonly #options: RegistryPartsOptions;
  readonly #scoped = new Map<string, RegistryPart>();

  constructor(options: RegistryPartsOptions) {
    const { registry } = options;
    this.#options = options;
    this.registry = registry;
    this.whole = { registry, history: this.#createHistory((event) => event) };
  }

  /** Returns the part of a scope. Creating one takes time in proportion to the registry, so it is kept. */
  get(scope: Scope): RegistryPart {
    if (scope === WHOLE_REGISTRY) return this.whole;
    const known = this.#scoped.get(scope.key);
    if (known) return known;
    const part = this.#create(scope);
    this.#scoped.set(scope.key, part);
    return part;
  }

  #create(scope: Scope): RegistryPart {
    const { random, ids } = this.#options;
    const narrow = ({ id, endpoint }: SerializedReplica, capabilities: SerializedReplica['capabilities']) =>
      new SerializedReplica({ id, endpoint, capabilities });
    const registry = new ScopedRegistry({
      registry: this.registry,
      scope,
      narrow,
      random,
      epoch: ids.createServerId(),
    });
    return { registry, history: this.#createHistory((event) => registry.selectEvent(event)) };
  }

  /** Creates a history of the selected events. */
  #createHistory(select: (event: AnyEvent) => AnyEvent | undefined): ReadableHistory {
    const { events, ids, clock } = this.#options;
    const history = new EventHistory({ epoch: ids.createServerId(), clock, serialize: serializeHistoryEvent });
    events.subscribe((event) => {
      const selected = select(event);
      if (selected) history.record(selected);
    });
    return history;
  }
}
