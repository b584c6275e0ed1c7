import type { QueryNode, QueryTrie } from './query-trie.js';

/** The interned pairs of one capability object, ascending. */
type PairNumbers = readonly number[];

/**
 * Finds the nodes whose queries an entry with these capability objects matches, each once. Takes time linear in the pairs
 * of the objects and the nodes of the trie, even if the objects share pairs: a node is visited once with all objects that
 * reach it, as a bit set, and not once for each object.
 */
export function findMatchingNodes(objects: readonly PairNumbers[], trie: QueryTrie): QueryNode[] {
  const [onlyObject] = objects;
  if (onlyObject && objects.length === 1) return findNodesOfObject(onlyObject, trie);
  return new SharedWalk(objects, trie).nodes;
}

/** Finds the matching nodes of a single object, without bit sets. Nearly all replicas have one object. */
function findNodesOfObject(object: PairNumbers, trie: QueryTrie): QueryNode[] {
  const nodes = [trie.root];
  for (let index = 0; index < object.length; index++) visit(trie.getList(object[index] as number), index + 1);
  return nodes;

  function visit(node: QueryNode, from: number): void {
    if (node.matches) nodes.push(node);
    if (!node.children) return;
    for (let index = from; index < object.length; index++) {
      const child = node.children.get(object[index] as number);
      if (child) visit(child, index + 1);
    }
  }
}

/** The walk through the trie with several objects, or none. */
class SharedWalk {
  readonly nodes: QueryNode[];
  readonly #objects: readonly PairNumbers[];
  readonly #words: number;
  /** For each pair, the objects that have it. */
  readonly #holders = new Map<number, number[]>();
  /** For each pair, the objects that have it, as bits. Created on first use. */
  readonly #bits = new Map<number, Uint32Array>();
  /** For each depth, the objects that reach the current node. */
  readonly #reaching: Uint32Array[] = [];

  constructor(objects: readonly PairNumbers[], trie: QueryTrie) {
    this.#objects = objects;
    this.#words = (objects.length + 31) >>> 5;
    this.nodes = objects.length > 0 ? [trie.root] : [];
    this.#collectHolders();
    for (const pair of this.#holders.keys()) {
      const list = trie.getList(pair);
      this.nodes.push(list);
      if (list.children) this.#visitChildren(list.children, this.#getBits(pair), 0);
    }
  }

  #collectHolders(): void {
    for (const [index, object] of this.#objects.entries()) {
      for (const pair of object) {
        const holders = this.#holders.get(pair);
        if (holders) holders.push(index);
        else this.#holders.set(pair, [index]);
      }
    }
  }

  #visitChildren(children: ReadonlyMap<number, QueryNode>, reaching: Uint32Array, depth: number): void {
    if (children.size < this.#holders.size) {
      for (const [pair, child] of children) if (this.#holders.has(pair)) this.#visit(child, reaching, depth);
      return;
    }
    for (const pair of this.#holders.keys()) {
      const child = children.get(pair);
      if (child) this.#visit(child, reaching, depth);
    }
  }

  #visit(node: QueryNode, reaching: Uint32Array, depth: number): void {
    this.#reaching[depth] ??= new Uint32Array(this.#words);
    const common = this.#reaching[depth];
    const holders = this.#getBits(node.pair);
    let any = 0;
    for (let word = 0; word < common.length; word++) {
      const both = (reaching[word] as number) & (holders[word] as number);
      common[word] = both;
      any |= both;
    }
    if (any === 0) return;
    if (node.matches) this.nodes.push(node);
    if (node.children) this.#visitChildren(node.children, common, depth + 1);
  }

  #getBits(pair: number): Uint32Array {
    let bits = this.#bits.get(pair);
    if (!bits) {
      bits = new Uint32Array(this.#words);
      for (const index of this.#holders.get(pair) as number[])
        bits[index >>> 5] = (bits[index >>> 5] as number) | (1 << (index & 31));
      this.#bits.set(pair, bits);
    }
    return bits;
  }
}
