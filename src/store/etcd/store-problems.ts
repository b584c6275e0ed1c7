import type { EtcdError } from './etcd-api.js';
import type { LocalRecords } from './local-records.js';
import type { ServerMarkers } from './server-markers.js';

/** The parts of a store that can have problems. */
export interface StoreProblemsOptions {
  /** Returns why etcd can't be used at present; undefined if it can. */
  readonly getConnectionProblem: () => string | undefined;
  readonly markers: Pick<ServerMarkers, 'isStale' | 'stalenessMs'>;
  readonly localRecords: Pick<LocalRecords, 'reasons'>;
}

/** Describes what doesn't work about the store at present. */
export class StoreProblems {
  readonly #options: StoreProblemsOptions;
  /** Why etcd doesn't accept writes; undefined if it does. */
  #writeProblem: string | undefined;

  constructor(options: StoreProblemsOptions) {
    this.#options = options;
  }

  /** Whether etcd answers, and accepts no writes. */
  get isReadOnly(): boolean {
    return this.#writeProblem !== undefined;
  }

  /** Records that etcd has accepted a put. Deletions prove nothing: etcd accepts them also while it is full. */
  recordPut(): void {
    this.#writeProblem = undefined;
  }

  /** Records why etcd has not accepted a write. Failures of the connection are also seen by the session. */
  recordFailure({ kind, message }: EtcdError): void {
    if (kind === 'no_space' || kind === 'denied') this.#writeProblem = message;
  }

  /** Describes why etcd does not have a record. */
  describeMissingWrite(): string {
    return this.#describeWriteProblem() ?? 'etcd has not confirmed it';
  }

  /** Returns the problems, each in a few words. */
  list(): string[] {
    const { getConnectionProblem, markers } = this.#options;
    const problem = getConnectionProblem();
    const connection = problem === undefined ? undefined : `etcd can't be used: ${problem}`;
    const age = markers.isStale ? `the replicas of other API servers are ${formatAge(markers.stalenessMs)}` : undefined;
    const all = [connection ?? age, this.#describeWriteProblem(), this.#describeLocalRecords()];
    return all.filter((text) => text !== undefined);
  }

  #describeWriteProblem(): string | undefined {
    return this.#writeProblem === undefined ? undefined : `etcd doesn't accept writes: ${this.#writeProblem}`;
  }

  #describeLocalRecords(): string | undefined {
    const { reasons } = this.#options.localRecords;
    const [reason] = reasons.values();
    if (reason === undefined) return undefined;
    const subject = reasons.size === 1 ? '1 registration is' : `${reasons.size} registrations are`;
    // Without an id: everyone can read the problems of a server, and the replicas of a team only the team.
    return `${subject} only in this API server: ${reason}`;
  }
}

function formatAge(stalenessMs: number): string {
  return Number.isFinite(stalenessMs) ? `as they were ${Math.round(stalenessMs / 1000)} s ago` : 'not known yet';
}
