import { type Capability, createPairs, getPairValue, hasPairs, listPairs, type Pairs } from './capability.js';
import { AnyserveError } from './errors.js';
import type { ReplicaId } from './ids.js';

/**
 * The part of the registry that a token can use: the capability objects that have all of these pairs. A replica is in the scope if
 * at least one of its objects is. The name is that of OAuth 2.0 (RFC 6749, section 3.3).
 */
export interface Scope {
  readonly pairs: Pairs;
  /** The same for equal pairs, whatever their order. */
  readonly key: string;
}

/** The scope without pairs, which all objects are in. */
export const WHOLE_REGISTRY: Scope = { pairs: [], key: '' };

/** Creates a scope from pairs. Their keys must be unique. */
export function createScope(pairs: readonly (readonly [key: string, value: string])[]): Scope {
  if (pairs.length === 0) return WHOLE_REGISTRY;
  const sorted = pairs.toSorted(([a], [b]) => (a < b ? -1 : 1));
  return { pairs: createPairs(sorted), key: JSON.stringify(sorted) };
}

/** Returns the capability objects that are in a scope; the same array if all are. */
export function selectInScope(scope: Scope, capabilities: readonly Capability[]): readonly Capability[] {
  const selected = capabilities.filter((capability) => hasPairs(scope.pairs, capability.pairs));
  return selected.length === capabilities.length ? capabilities : selected;
}

/** Returns whether all capability objects are in a scope. */
export function areInScope(scope: Scope, capabilities: readonly Capability[]): boolean {
  return selectInScope(scope, capabilities) === capabilities;
}

/** Returns why a token with this scope can't register these capability objects; undefined if it can. */
export function findScopeProblem(scope: Scope, capabilities: readonly Capability[]): string | undefined {
  for (const [index, { pairs }] of capabilities.entries()) {
    const missing = listPairs(scope.pairs).find(([key, value]) => getPairValue(key, pairs) !== value);
    if (!missing) continue;
    const [key] = missing;
    const offered = getPairValue(key, pairs);
    const problem =
      offered === undefined ? `no text, number or boolean as ${JSON.stringify(key)}` : formatPair(key, offered);
    return `this token may only register capability objects with ${formatPair(...missing)}: object ${index + 1} has ${problem}`;
  }
  return undefined;
}

/** Creates the error of a registration whose id has one outside of its scope. It doesn't describe that registration. */
export function createTakenError(id: ReplicaId): AnyserveError {
  return new AnyserveError('permission_denied', `the id ${JSON.stringify(id)} is taken`);
}

/** Formats the pairs of a scope for messages, as `"tenant":"a"`. */
export function formatScope({ pairs }: Scope): string {
  return listPairs(pairs)
    .map(([key, value]) => formatPair(key, value))
    .join(' and ');
}

function formatPair(key: string, value: string): string {
  return `${JSON.stringify(key)}:${JSON.stringify(value)}`;
}
