import type { Probe } from '../client/probe.js';
import type { Capability } from '../core/capability.js';
import type { Endpoint } from '../core/ids.js';
import type { ReplicaLoad } from '../core/load.js';
import type { Replica } from '../core/replica.js';

/** Health probe of a server. */
export interface ServerProbe {
  readonly probe: Probe;
  /** Timeout of one probe, in ms. Default: that of the health watch. */
  readonly timeoutMs?: number;
}

/** Receives the changes of a server, other than its health, that a probe finds. */
export interface RegistrationChanges {
  /** The server offers these capabilities now. */
  update(capabilities: readonly Capability[]): void;
  /** The server can't be registered, and waiting doesn't help. */
  fail(error: unknown): void;
}

/** A model server that `anyserve register` can keep registered. */
export interface Registrable {
  readonly replica: Replica;
  /** Address at which the server listens, if this command runs it. */
  readonly address: Endpoint;
  /** Creates the health probe. Undefined: the server always counts as healthy. */
  readonly createProbe: (changes: RegistrationChanges) => ServerProbe | undefined;
  /** Returns the load of the server. Undefined if it isn't known. */
  readonly getLoad?: () => ReplicaLoad | undefined;
  /** Releases the connections of the probe. */
  readonly close?: () => void;
}
