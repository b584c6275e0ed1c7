import { Explainer } from '../core/explainer.js';
import type { ExplainedReplica, Explanation } from '../core/explanation.js';
import { PreparedFilter } from '../core/index/prepared-filter.js';
import type { Clock } from '../core/ports.js';
import { getProtocol } from '../core/protocol.js';
import type { Registry } from '../core/registry.js';
import type { Registration } from '../core/replica.js';
import type { ReplicaFilter } from '../core/replica-filter.js';
import type { ReplicaPage } from '../core/replica-pages.js';
import { NO_EXCLUSIONS } from '../core/routable-replicas.js';
import { SearchTurns } from './search-turns.js';

/** Maximum number of explanations at once: one is being made, the others wait. */
const MAX_EXPLANATIONS = 16;

/** Maximum time of a turn of the event loop for explanations, in ms. One step of an explanation can exceed it. */
const SLICE_MS = 2;

/** The part of a registry that explanations read. */
export type ExplainedRegistry = Pick<Registry, 'pages' | 'search'>;

/**
 * Explains queries, one after the other. An explanation examines all replicas, which takes 0.1 s or more among 100,000. It is made
 * in slices, and all explanations together take at most a quarter of the server's time, so that other requests are not delayed.
 */
export class ExplanationQueue {
  readonly #isWarming: () => boolean;
  readonly #clock: Clock;
  readonly #turns: SearchTurns;
  #length = 0;
  /** Settles when the last explanation in the queue has ended. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(isWarming: () => boolean, clock: Clock) {
    this.#isWarming = isWarming;
    this.#clock = clock;
    this.#turns = new SearchTurns(clock);
  }

  /**
   * Explains a query among the replicas of a registry. Returns undefined if too many others wait. Resolves to undefined as soon as
   * the explanation is no longer wanted.
   */
  add(
    registry: ExplainedRegistry,
    query: ReplicaFilter,
    isWanted: () => boolean,
  ): Promise<Explanation | undefined> | undefined {
    if (this.#length >= MAX_EXPLANATIONS) return undefined;
    this.#length++;
    const explanation = this.#last
      .then(() => this.#explain(registry, query, isWanted))
      .finally(() => {
        this.#length--;
      });
    this.#last = explanation.catch(() => {});
    return explanation;
  }

  async #explain(
    registry: ExplainedRegistry,
    asked: ReplicaFilter,
    isWanted: () => boolean,
  ): Promise<Explanation | undefined> {
    await this.#waitForTurn();
    if (!isWanted()) return undefined;
    const pages = registry.pages();
    const explainer = new Explainer(asked.query, asked);
    const steps = explainer.examine(listReplicas(pages, this.#clock.epochMs()));
    while (!this.#turns.run(() => this.#runSlice(steps)).result) {
      await this.#waitForTurn();
      if (!isWanted()) return undefined;
    }
    if (explainer.needsCandidate) {
      await this.#waitForTurn();
      this.#turns.run(() => this.#addCandidate(explainer, registry, asked));
    }
    const replicaCount = pages.reduce((sum, { registrations }) => sum + registrations.length, 0);
    return explainer.getExplanation({ replicaCount, isWarming: this.#isWarming() });
  }

  /** Runs as many steps as fit into a slice. Returns whether they were the last ones. */
  #runSlice(steps: Iterator<unknown>): boolean {
    const endsAtMs = this.#clock.nowMs() + SLICE_MS;
    do {
      if (steps.next().done) return true;
    } while (this.#clock.nowMs() < endsAtMs);
    return false;
  }

  /** Finds a candidate as a request would, among the replicas that were not examined. */
  #addCandidate(explainer: Explainer, registry: ExplainedRegistry, filter: ReplicaFilter): void {
    const result = registry.search([new PreparedFilter(filter)], NO_EXCLUSIONS, filter.protocol);
    if (result.kind === 'found') explainer.recordCandidate(toExplained(result.registration, this.#clock.epochMs()));
  }

  async #waitForTurn(): Promise<void> {
    if (this.#turns.isFree) await new Promise<void>((resolve) => void this.#clock.schedule(0, resolve));
    else await this.#turns.runLater(() => {});
  }
}

function* listReplicas(pages: readonly ReplicaPage[], epochMs: number): Generator<ExplainedReplica> {
  for (const { registrations } of pages) {
    for (const registration of registrations) yield toExplained(registration, epochMs);
  }
}

function toExplained({ replica, state, sinceEpochMs, cordon }: Registration, epochMs: number): ExplainedReplica {
  const { id, capabilities, endpoint } = replica;
  return {
    id,
    capabilities,
    protocol: getProtocol(endpoint),
    state,
    stateAgeMs: Math.max(0, epochMs - sinceEpochMs),
    cordon,
  };
}
