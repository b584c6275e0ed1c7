import { Bitmap, eachCommon } from './bitmap.js';
import type { CapabilityQuery } from './capability.js';
import type { ReplicaId } from './ids.js';
import { type Entry, MatchSet } from './match-set.js';
import { matchingNodes } from './matching-nodes.js';
import { PairTable } from './pair-table.js';
import type { Random } from './ports.js';
import { QueryPlaces } from './query-places.js';
import { QueryTrie, type TrieLimits } from './query-trie.js';
import { RecentMap } from './recent-map.js';
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

/** How much an index keeps of the results of queries. */
export interface IndexLimits extends TrieLimits {
  /** Results of queries of so many pairs: no caller asks longer ones, and each pair is a node on the way to them. */
  readonly mostPairs: number;
}

const LIMITS: IndexLimits = { mostKept: 4096, mostMatches: 16_000, mostMatchesEach: 64, mostPairs: 16 };

/** Where one in twenty of the shortest list matches, so many draws from it find one all but surely. */
const DRAWS = 128;

/** Lists shorter than this are looked through; longer ones have a bitmap each, and the bitmaps are cut with each other. */
const SHORT_LIST = 2048;

/**
 * A set-trie over interned pairs. A query that is kept is answered in a few steps whatever the size; one never seen by
 * draws from its shortest list, or by a cut of bitmaps. Joining and leaving cost as much as the sets joined.
 */
export function createCapabilityIndex(limits: IndexLimits = LIMITS): CapabilityIndex {
  const pairs = new PairTable();
  /** By their slots: a choice reads the registrations alone. */
  const registrations: (Registration | undefined)[] = [];
  const entries: (Entry | undefined)[] = [];
  const slotOf = new Map<ReplicaId, number>();
  const freeSlots: number[] = [];
  /** Those that have several capability objects, or none: in the lists of some pairs, they may have no object with all of these. */
  const several = new Bitmap();
  const trie = new QueryTrie(entries, limits);
  const places = new QueryPlaces(pairs);
  /** By the pairs of a query, how often it is asked yet before it is thought of keeping its result. */
  const asksLeft = new RecentMap<string, number>(MOST_REMEMBERED);

  function join(slot: number, entry: Entry): void {
    if (entry.objects.length !== 1) several.add(slot);
    const joining = matchingNodes(entry.objects, trie);
    MatchSet.addToAll(
      slot,
      entry,
      joining.map((node) => node.matches as MatchSet),
    );
    for (const node of joining) {
      if (node.bitmap) node.bitmap.add(slot);
      else if (node.parent === trie.root && (node.matches as MatchSet).size > SHORT_LIST) {
        node.bitmap = bitmapOf(node.matches as MatchSet);
      }
    }
    trie.trim(joining);
  }

  function leave(slot: number): void {
    const entry = entries[slot] as Entry;
    MatchSet.removeFromAll(entry);
    entries[slot] = undefined;
    registrations[slot] = undefined;
    freeSlots.push(slot);
    several.delete(slot);
    for (const object of entry.objects) {
      for (const pair of object) {
        trie.list(pair).bitmap?.delete(slot);
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
  function hasObject(slot: number, asked: readonly number[]): boolean {
    for (const object of (entries[slot] as Entry).objects) if (hasAll(object, asked)) return true;
    return false;
  }

  /** The same of one that stands in the list of one of the pairs: told by bitmaps, where the others have such. */
  function isMatch(slot: number, list: MatchSet, asked: readonly number[]): boolean {
    for (const pair of asked) {
      const { matches, bitmap } = trie.list(pair);
      if (matches === list) continue;
      if (!bitmap) return hasObject(slot, asked);
      if (!bitmap.has(slot)) return false;
    }
    return !several.has(slot) || hasObject(slot, asked);
  }

  /** All that match, by looking through the shortest list, or where that is long by a cut of bitmaps. */
  function allMatching(shortest: MatchSet, asked: readonly number[]): number[] {
    if (shortest.size <= SHORT_LIST) return shortest.slots.filter((slot) => isMatch(slot, shortest, asked));
    const matching: number[] = [];
    eachCommon(
      asked.map((pair) => trie.list(pair).bitmap as Bitmap),
      (slot) => {
        if (!several.has(slot) || hasObject(slot, asked)) matching.push(slot);
      },
    );
    return matching;
  }

  /** Keeps the result of a query that comes again, unless it is large; that is looked at again much later. */
  function keepIfAskedAgain(asked: readonly number[], result: () => readonly number[], random: Random): void {
    if (asked.length > limits.mostPairs) return;
    const key = asked.join();
    const left = (asksLeft.get(key) ?? ASKS_BEFORE_KEPT) - 1;
    const matching = left > 0 ? undefined : result();
    const isLarge = matching !== undefined && matching.length > limits.mostMatches;
    if (matching && !isLarge) trie.keep(asked, matching, random);
    asksLeft.set(key, isLarge ? ASKS_WHEN_LARGE : left || ASKS_BEFORE_KEPT);
  }

  function chooseSlot(query: CapabilityQuery, excluded: readonly number[], random: Random): number | undefined {
    const known = places.find(query);
    if (known) return trie.use(known).choose(excluded, random);
    const asked = pairs.findAll(query);
    if (!asked) return undefined;
    const node = trie.find(asked);
    if (!node) return chooseUnheld(asked, excluded, random);
    places.note(query, node);
    return trie.use(node).choose(excluded, random);
  }

  /** Chooses where no result is held: by draws, which are as even as the list they are from, else from all that match. */
  function chooseUnheld(asked: readonly number[], excluded: readonly number[], random: Random): number | undefined {
    const list = shortestOf(asked);
    for (let drawn = 1; drawn <= DRAWS && list.size > SHORT_DRAW; drawn++) {
      const slot = list.slots[Math.floor(random.fraction() * list.size)] as number;
      if (!isMatch(slot, list, asked) || excluded.includes(slot)) continue;
      const isRare = drawn > FEW_DRAWS && list.size / drawn < limits.mostMatches;
      if (isRare) keepIfAskedAgain(asked, () => allMatching(list, asked), random);
      return slot;
    }
    const matching = allMatching(list, asked);
    keepIfAskedAgain(asked, () => matching, random);
    const left = excluded.length > 0 ? matching.filter((slot) => !excluded.includes(slot)) : matching;
    return left[Math.floor(random.fraction() * left.length)];
  }

  return {
    put(registration) {
      const { id, capabilities } = registration.replica;
      // Before it leaves, so that a pair that it alone has stays what it is.
      const objects = capabilities.map((capability) => pairs.useAll(capability.pairs));
      const previous = slotOf.get(id);
      if (previous !== undefined) leave(previous);
      const entry = { objects, memberships: [] };
      const slot = freeSlots.pop() ?? entries.length;
      entries[slot] = entry;
      registrations[slot] = registration;
      slotOf.set(id, slot);
      join(slot, entry);
    },
    delete(id) {
      const slot = slotOf.get(id);
      if (slot === undefined) return;
      slotOf.delete(id);
      leave(slot);
    },
    choose(query, excluded, random) {
      const left = excluded.size > 0 ? [...excluded].flatMap((id) => slotOf.get(id) ?? []) : NONE;
      const slot = chooseSlot(query, left, random);
      return slot === undefined ? undefined : registrations[slot];
    },
  };
}

const NONE: readonly number[] = [];

/** A query that takes more draws is worth keeping when it comes again. */
const FEW_DRAWS = 6;

/** A result is kept when its query comes for the second time; whether a large one still is, is looked at now and then. */
const ASKS_BEFORE_KEPT = 2;
const ASKS_WHEN_LARGE = 1000;

/** So many queries are remembered that may come again. */
const MOST_REMEMBERED = 4096;

/** Shorter lists are not drawn from: looking through them costs no more. */
const SHORT_DRAW = 16;

function bitmapOf(matches: MatchSet): Bitmap {
  const bitmap = new Bitmap();
  for (const slot of matches.slots) bitmap.add(slot);
  return bitmap;
}

/** Whether an object has all the pairs; both are ascending. */
function hasAll(object: readonly number[], asked: readonly number[]): boolean {
  let at = 0;
  for (const pair of asked) {
    while (at < object.length && (object[at] as number) < pair) at++;
    if (object[at] !== pair) return false;
    at++;
  }
  return true;
}
