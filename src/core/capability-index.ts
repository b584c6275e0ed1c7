import { Bitmap, eachCommon } from './bitmap.js';
import type { CapabilityQuery } from './capability.js';
import type { ReplicaId } from './ids.js';
import { type Entry, MatchSet } from './match-set.js';
import { PairTable } from './pair-table.js';
import type { Random } from './ports.js';
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
  const trie = new QueryTrie();
  const entries = new Map<ReplicaId, Entry>();
  const bySlot: (Entry | undefined)[] = [];
  const freeSlots: number[] = [];
  /** By the numbers of its pairs, how often a query is asked yet before it is thought of keeping its result. */
  const patience = new Map<string, number>();

  function join(entry: Entry): void {
    const isOnly = entry.objects.length === 1;
    const joining: QueryNode[] = [];
    for (const object of entry.objects) {
      reach(trie.root);
      for (const [at, pair] of object.entries()) visit(trie.list(pair), object, at + 1);
    }
    MatchSet.addToAll(
      entry,
      joining.map((node) => node.matches as MatchSet),
    );
    for (const node of joining) {
      if (node.bitmap) node.bitmap.add(entry.slot);
      else if (node.parent === trie.root && (node.matches as MatchSet).size > SHORT_LIST) {
        node.bitmap = bitmapOf(node.matches as MatchSet);
      }
    }

    function visit(node: QueryNode, object: readonly number[], from: number): void {
      reach(node);
      if (node.children.size === 0) return;
      for (let at = from; at < object.length; at++) {
        const child = node.children.get(object[at] as number);
        if (child) visit(child, object, at + 1);
      }
    }

    function reach(node: QueryNode): void {
      if (node.matches && (isOnly || !joining.includes(node))) joining.push(node);
    }
  }

  function leave(entry: Entry): void {
    MatchSet.removeFromAll(entry);
    bySlot[entry.slot] = undefined;
    freeSlots.push(entry.slot);
    for (const object of entry.objects) {
      for (const pair of object) {
        trie.list(pair).bitmap?.delete(entry.slot);
        if (pairs.release(pair)) trie.dropList(pair);
      }
    }
  }

  /** The shortest of the lists that a query's pairs have; what matches is in all of them. */
  function shortestOf(numbers: readonly number[]): MatchSet {
    let shortest = trie.list(numbers[0] as number).matches as MatchSet;
    for (let at = 1; at < numbers.length; at++) {
      const list = trie.list(numbers[at] as number).matches as MatchSet;
      if (list.size < shortest.size) shortest = list;
    }
    return shortest;
  }

  /** All that match, by looking through the shortest list, or where that is long by a cut of bitmaps. */
  function allMatching(shortest: MatchSet, numbers: readonly number[]): Entry[] {
    if (shortest.size <= SHORT_LIST) return shortest.entries.filter((entry) => matchesOne(entry, numbers));
    const matching: Entry[] = [];
    eachCommon(
      numbers.map((number) => trie.list(number).bitmap as Bitmap),
      (slot) => {
        const entry = bySlot[slot] as Entry;
        if (entry.objects.length === 1 || matchesOne(entry, numbers)) matching.push(entry);
      },
    );
    return matching;
  }

  /** Keeps the result of a query that comes again, unless it is large; that is looked at again much later. */
  function consider(numbers: readonly number[], result: () => readonly Entry[], random: Random): void {
    const key = numbers.join();
    const left = (patience.get(key) ?? FIRST_PATIENCE) - 1;
    patience.delete(key);
    const matching = left > 0 ? undefined : result();
    if (matching && matching.length <= MOST_MATCHES_KEPT) trie.keep(numbers, matching, random);
    else patience.set(key, matching ? PATIENCE_WHEN_LARGE : left);
    const [oldest] = patience.keys();
    if (oldest !== undefined && patience.size > MOST_REMEMBERED) patience.delete(oldest);
  }

  function chooseEntry(numbers: readonly number[], excluded: readonly Entry[], random: Random): Entry | undefined {
    const held = trie.find(numbers);
    if (held) return held.choose(excluded, random);
    const list = shortestOf(numbers);
    for (let drawn = 1; drawn <= DRAWS && list.size > SHORT_DRAW; drawn++) {
      const entry = list.entries[Math.floor(random.fraction() * list.size)] as Entry;
      if (!matchesOne(entry, numbers) || excluded.includes(entry)) continue;
      const isRare = drawn > FEW_DRAWS && list.size / drawn < MOST_MATCHES_KEPT;
      if (isRare) consider(numbers, () => allMatching(list, numbers), random);
      return entry;
    }
    const matching = allMatching(list, numbers);
    consider(numbers, () => matching, random);
    const left = excluded.length > 0 ? matching.filter((entry) => !excluded.includes(entry)) : matching;
    return left[Math.floor(random.fraction() * left.length)];
  }

  return {
    put(registration) {
      const { id, capabilities } = registration.replica;
      const previous = entries.get(id);
      if (previous) leave(previous);
      const objects = capabilities.map((capability) => pairs.useAll(capability.pairs));
      const slot = freeSlots.pop() ?? bySlot.length;
      const entry: Entry = { registration, objects, slot, sets: [], places: [] };
      bySlot[slot] = entry;
      entries.set(id, entry);
      join(entry);
    },
    delete(id) {
      const entry = entries.get(id);
      if (!entry) return;
      entries.delete(id);
      leave(entry);
    },
    choose(query, excluded, random) {
      const numbers: number[] = [];
      for (const [key, value] of query) {
        const number = pairs.find(key, value);
        if (number === undefined) return undefined;
        insert(number, numbers);
      }
      const left = excluded.size > 0 ? [...excluded].flatMap((id) => entries.get(id) ?? []) : NONE;
      return chooseEntry(numbers, left, random)?.registration;
    },
  };
}

const NONE: readonly Entry[] = [];

/** A query that takes more draws is worth keeping when it comes again. */
const FEW_DRAWS = 6;

/** A result is kept when its query comes for the second time; whether a large one still is, is looked at now and then. */
const FIRST_PATIENCE = 2;
const PATIENCE_WHEN_LARGE = 1000;

/** Shorter lists are not drawn from: looking through them costs no more. */
const SHORT_DRAW = 16;

function bitmapOf(matches: MatchSet): Bitmap {
  const bitmap = new Bitmap();
  for (const { slot } of matches.entries) bitmap.add(slot);
  return bitmap;
}

/** Puts a number where it belongs among a few ascending ones; sorting so few costs more than all the rest of a choice. */
function insert(number: number, ascending: number[]): void {
  let at = ascending.length;
  for (; at > 0 && (ascending[at - 1] as number) > number; at--) ascending[at] = ascending[at - 1] as number;
  ascending[at] = number;
}

/** Whether one of the entry's objects has all the pairs; both are ascending. */
function matchesOne(entry: Entry, numbers: readonly number[]): boolean {
  for (const object of entry.objects) if (hasAll(object, numbers)) return true;
  return false;
}

function hasAll(object: readonly number[], numbers: readonly number[]): boolean {
  let at = 0;
  for (const number of numbers) {
    while (at < object.length && (object[at] as number) < number) at++;
    if (object[at] !== number) return false;
    at++;
  }
  return true;
}
