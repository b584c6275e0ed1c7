import { Bitmap, eachCommon } from './bitmap.js';
import type { CapabilityQuery } from './capability.js';
import type { ReplicaId } from './ids.js';
import { type Entry, MatchSet } from './match-set.js';
import { PairTable } from './pair-table.js';
import type { Random } from './ports.js';
import { QueryPlaces } from './query-places.js';
import { type QueryNode, QueryTrie } from './query-trie.js';
import type { Registration } from './replica.js';

/** The registrations that can be routed to, by what they can do. One writer: the registry's `apply`. */
export interface CapabilityIndex {
  /** Puts a registration in the place of whatever has its replica's id. */
  put(registration: Registration): void;
  delete(id: ReplicaId): void;
  /**
   * One that has a capability object with every pair of the query, each as likely as the others, however many of its
   * objects match; none of the excluded, which are few.
   */
  choose(query: CapabilityQuery, excluded: ReadonlySet<ReplicaId>, random: Random): Registration | undefined;
}

/** Where one in twenty of the shortest list matches, so many draws from it find one all but surely. */
const DRAWS = 128;

/** Lists shorter than this are looked through; longer ones have a bitmap each, and the bitmaps are cut with each other. */
const SHORT_LIST = 2048;

/** Larger results are found by draws, and not worth keeping. */
const MOST_MATCHES_KEPT = 16_000;

/** So many queries are remembered that may come again. */
const MOST_REMEMBERED = 4096;

/**
 * A set-trie over interned pairs. A query that is kept is answered in a few steps whatever the size; one never seen by
 * draws from its shortest list, or by a cut of bitmaps. Joining and leaving cost as much as the sets joined.
 */
export function createCapabilityIndex(): CapabilityIndex {
  const pairs = new PairTable();
  /** By their numbers: a choice reads the registrations alone. */
  const registrations: (Registration | undefined)[] = [];
  const entries: (Entry | undefined)[] = [];
  const numberOf = new Map<ReplicaId, number>();
  const freeNumbers: number[] = [];
  /** Those that have more than one capability object: that they have all of some pairs does not mean that one object has. */
  const several = new Bitmap();
  const trie = new QueryTrie(entries);
  const places = new QueryPlaces(pairs);
  /** By the numbers of its pairs, how often a query is asked yet before it is thought of keeping its result. */
  const patience = new Map<string, number>();

  function join(number: number, entry: Entry): void {
    const isOnly = entry.objects.length === 1;
    if (!isOnly) several.add(number);
    const joining: QueryNode[] = [];
    for (const object of entry.objects) {
      reach(trie.root);
      for (const [at, pair] of object.entries()) visit(trie.list(pair), object, at + 1);
    }
    MatchSet.addToAll(
      number,
      entry,
      joining.map((node) => node.matches as MatchSet),
    );
    for (const node of joining) {
      if (node.bitmap) node.bitmap.add(number);
      else if (node.parent === trie.root && (node.matches as MatchSet).size > SHORT_LIST) {
        node.bitmap = bitmapOf(node.matches as MatchSet);
      }
    }

    function visit(node: QueryNode, object: readonly number[], from: number): void {
      reach(node);
      if (!node.children) return;
      for (let at = from; at < object.length; at++) {
        const child = node.children.get(object[at] as number);
        if (child) visit(child, object, at + 1);
      }
    }

    function reach(node: QueryNode): void {
      if (node.matches && (isOnly || !joining.includes(node))) joining.push(node);
    }
  }

  function leave(number: number): void {
    const entry = entries[number] as Entry;
    MatchSet.removeFromAll(entry);
    entries[number] = undefined;
    registrations[number] = undefined;
    freeNumbers.push(number);
    several.delete(number);
    for (const object of entry.objects) {
      for (const pair of object) {
        trie.list(pair).bitmap?.delete(number);
        if (pairs.release(pair)) trie.dropList(pair);
      }
    }
  }

  /** The shortest of the lists that a query's pairs have; what matches is in all of them. */
  function shortestOf(asked: readonly number[]): MatchSet {
    let shortest = trie.list(asked[0] as number).matches as MatchSet;
    for (let at = 1; at < asked.length; at++) {
      const list = trie.list(asked[at] as number).matches as MatchSet;
      if (list.size < shortest.size) shortest = list;
    }
    return shortest;
  }

  /** Whether one of its objects has all the pairs. */
  function hasObject(number: number, asked: readonly number[]): boolean {
    for (const object of (entries[number] as Entry).objects) if (hasAll(object, asked)) return true;
    return false;
  }

  /** The same of one that stands in the list of one of the pairs: told by bitmaps, where the others have such. */
  function isMatch(number: number, list: MatchSet, asked: readonly number[]): boolean {
    for (const pair of asked) {
      const { matches, bitmap } = trie.list(pair);
      if (matches === list) continue;
      if (!bitmap) return hasObject(number, asked);
      if (!bitmap.has(number)) return false;
    }
    return !several.has(number) || hasObject(number, asked);
  }

  /** All that match, by looking through the shortest list, or where that is long by a cut of bitmaps. */
  function allMatching(shortest: MatchSet, asked: readonly number[]): number[] {
    if (shortest.size <= SHORT_LIST) return shortest.numbers.filter((number) => hasObject(number, asked));
    const matching: number[] = [];
    eachCommon(
      asked.map((pair) => trie.list(pair).bitmap as Bitmap),
      (number) => {
        if (!several.has(number) || hasObject(number, asked)) matching.push(number);
      },
    );
    return matching;
  }

  /** Keeps the result of a query that comes again, unless it is large; that is looked at again much later. */
  function consider(asked: readonly number[], result: () => readonly number[], random: Random): void {
    const key = asked.join();
    const left = (patience.get(key) ?? FIRST_PATIENCE) - 1;
    patience.delete(key);
    const matching = left > 0 ? undefined : result();
    if (matching && matching.length <= MOST_MATCHES_KEPT) trie.keep(asked, matching, random);
    else patience.set(key, matching ? PATIENCE_WHEN_LARGE : left);
    const [oldest] = patience.keys();
    if (oldest !== undefined && patience.size > MOST_REMEMBERED) patience.delete(oldest);
  }

  function chooseNumber(query: CapabilityQuery, excluded: readonly number[], random: Random): number | undefined {
    const known = places.find(query);
    if (known) return trie.ask(known).choose(excluded, random);
    const asked = pairs.findAll(query);
    if (!asked) return undefined;
    const node = trie.find(asked);
    if (!node) return chooseUnheld(asked, excluded, random);
    places.note(query, node);
    return trie.ask(node).choose(excluded, random);
  }

  function chooseUnheld(asked: readonly number[], excluded: readonly number[], random: Random): number | undefined {
    const list = shortestOf(asked);
    for (let drawn = 1; drawn <= DRAWS && list.size > SHORT_DRAW; drawn++) {
      const number = list.numbers[Math.floor(random.fraction() * list.size)] as number;
      if (!isMatch(number, list, asked) || excluded.includes(number)) continue;
      const isRare = drawn > FEW_DRAWS && list.size / drawn < MOST_MATCHES_KEPT;
      if (isRare) consider(asked, () => allMatching(list, asked), random);
      return number;
    }
    const matching = allMatching(list, asked);
    consider(asked, () => matching, random);
    const left = excluded.length > 0 ? matching.filter((number) => !excluded.includes(number)) : matching;
    return left[Math.floor(random.fraction() * left.length)];
  }

  return {
    put(registration) {
      const { id, capabilities } = registration.replica;
      const previous = numberOf.get(id);
      if (previous !== undefined) leave(previous);
      const entry = { objects: capabilities.map((capability) => pairs.useAll(capability.pairs)), memberships: [] };
      const number = freeNumbers.pop() ?? entries.length;
      entries[number] = entry;
      registrations[number] = registration;
      numberOf.set(id, number);
      join(number, entry);
    },
    delete(id) {
      const number = numberOf.get(id);
      if (number === undefined) return;
      numberOf.delete(id);
      leave(number);
    },
    choose(query, excluded, random) {
      const left = excluded.size > 0 ? [...excluded].flatMap((id) => numberOf.get(id) ?? []) : NONE;
      const number = chooseNumber(query, left, random);
      return number === undefined ? undefined : registrations[number];
    },
  };
}

const NONE: readonly number[] = [];

/** A query that takes more draws is worth keeping when it comes again. */
const FEW_DRAWS = 6;

/** A result is kept when its query comes for the second time; whether a large one still is, is looked at now and then. */
const FIRST_PATIENCE = 2;
const PATIENCE_WHEN_LARGE = 1000;

/** Shorter lists are not drawn from: looking through them costs no more. */
const SHORT_DRAW = 16;

function bitmapOf(matches: MatchSet): Bitmap {
  const bitmap = new Bitmap();
  for (const number of matches.numbers) bitmap.add(number);
  return bitmap;
}

/** Whether an object has all the pairs; both are ascending. */
function hasAll(object: readonly number[], asked: readonly number[]): boolean {
  let at = 0;
  for (const number of asked) {
    while (at < object.length && (object[at] as number) < number) at++;
    if (object[at] !== number) return false;
    at++;
  }
  return true;
}
