import type { Cordons } from './cordons.js';
import type { Registry } from './registry.js';
import type { Replica } from './replica.js';
import type { ReplicaLoads } from './replica-loads.js';
import type { Scope } from './scope.js';

/** A registry as the requests of one token can use it. The registry itself is the access to all of it. */
export interface RegistryAccess<R extends Replica = Replica>
  extends Pick<
    Registry<R>,
    | 'id'
    | 'stalenessMs'
    | 'isInSelfPreservation'
    | 'changes'
    | 'pages'
    | 'known'
    | 'find'
    | 'describe'
    | 'route'
    | 'search'
    | 'checkRegistration'
    | 'register'
    | 'renew'
    | 'findRenewalRefusal'
    | 'countRefusedRenewal'
    | 'locateLease'
    | 'release'
  > {
  /** The capability objects that can be seen and registered. */
  readonly scope: Scope;
  readonly cordons: Pick<Cordons<R>, 'set' | 'adopt' | 'findByLease'>;
  readonly loads: Pick<ReplicaLoads, 'record' | 'subscribe'>;
}
