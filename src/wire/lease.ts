import type { DeclaredState } from '../core/replica.js';
import { isJsonObject, JsonSyntaxError, parseJson } from './json.js';
import { notAnObject, type Refusal, syntaxFault, valueFault } from './registration.js';

/** The header of a two-way lease's stream that names the lease. */
export const LEASE_HEADER = 'x-anyserve-lease';

const DECLARED: ReadonlySet<unknown> = new Set(['ready', 'unready', 'draining'] satisfies DeclaredState[]);

/** What a renewal says, or everything that is wrong with it. */
export type RenewalOutcome = { readonly kind: 'renewal'; readonly state: DeclaredState | undefined } | Refusal;

/** What nearly all renewals say, so that they need not be taken apart. */
const READY_TEXT = renewalText('ready');
const READY: RenewalOutcome = { kind: 'renewal', state: 'ready' };

/** Reads the body of `PUT /leases/{lease}`: nothing, or an object which may say a `state`. Other keys are let through. */
export function parseRenewal(body: string): RenewalOutcome {
  if (body === READY_TEXT) return READY;
  if (body.trim() === '') return { kind: 'renewal', state: undefined };
  try {
    const json = parseJson(body);
    if (!isJsonObject(json)) return notAnObject(json);
    const state = json.get('state') ?? undefined;
    if (state === undefined || DECLARED.has(state))
      return { kind: 'renewal', state: state as DeclaredState | undefined };
    return {
      kind: 'faults',
      faults: [valueFault(['body', 'state'], `a state is one of ${[...DECLARED].join(', ')}`, state)],
    };
  } catch (error) {
    if (error instanceof JsonSyntaxError) return { kind: 'faults', faults: [syntaxFault(error)] };
    throw error;
  }
}

/** The body of a renewal. */
export function renewalText(state: DeclaredState): string {
  return JSON.stringify({ state });
}
