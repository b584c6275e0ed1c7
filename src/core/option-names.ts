import { measureMisspelling } from './edit-distance.js';
import { AnyserveError } from './errors.js';
import { quote } from './quoting.js';

/** Distance of a known name that begins with the given one. It is larger than that of any misspelling. */
const PREFIX_DISTANCE = 4;

/** Minimum length of a name for which longer ones with that prefix are suggested. */
const MIN_PREFIX_LENGTH = 3;

/** An object whose keys are the known names. */
type KnownNames = Readonly<Record<string, unknown>>;

/**
 * Checks the names of the options that a function is called with. Throws `usage` with the most similar known name, or all of
 * them, for an unknown option: it would have no effect. An option that is undefined is not checked, and neither is what a
 * class inherits: its methods are not options. `group`: name of the option that contains these, such as `tls`.
 */
export function checkOptionNames(owner: string, options: object, known: KnownNames, group?: string): void {
  for (const name of Object.keys(options)) {
    if (Object.hasOwn(known, name) || (options as KnownNames)[name] === undefined) continue;
    throw createUnknownOptionError(owner, name, Object.keys(known), group === undefined ? '' : `${group}.`);
  }
}

function createUnknownOptionError(
  owner: string,
  name: string,
  known: readonly string[],
  prefix: string,
): AnyserveError {
  const shown = /^\w{1,64}$/.test(name) ? `${prefix}${name}` : `${prefix}${quote(name)}`;
  const closest = findClosestName(name, known);
  const hint = closest === undefined ? `its options: ${known.join(', ')}` : `did you mean ${prefix}${closest}?`;
  return new AnyserveError('usage', `option ${shown} is unknown to ${owner}; ${hint}`);
}

function findClosestName(name: string, known: readonly string[]): string | undefined {
  let closest: string | undefined;
  let closestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of known) {
    const distance = measureMisspelling(candidate, name) ?? measurePrefix(candidate, name);
    if (distance >= closestDistance) continue;
    closestDistance = distance;
    closest = candidate;
  }
  return closest;
}

function measurePrefix(candidate: string, name: string): number {
  const isPrefix = name.length >= MIN_PREFIX_LENGTH && candidate.startsWith(name);
  return isPrefix ? PREFIX_DISTANCE : Number.POSITIVE_INFINITY;
}
