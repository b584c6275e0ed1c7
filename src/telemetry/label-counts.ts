/** A value, and the labels of its series in the order of the family's names. */
export type Sample = readonly [labels: readonly string[], value: number];

/** Counts by labels. The caller limits the number of their combinations. */
export class LabelCounts {
  readonly #counts = new Map<string, { readonly labels: readonly string[]; count: number }>();

  /** `values` of a single label are counted from the start, so that a rate sees the first increase. */
  constructor(values: readonly string[] = []) {
    for (const value of values) this.add([value], 0);
  }

  add(labels: readonly string[], count = 1): void {
    const key = labels.length === 1 ? (labels[0] as string) : labels.join('\0');
    const counted = this.#counts.get(key);
    if (counted) counted.count += count;
    else this.#counts.set(key, { labels, count });
  }

  *listSamples(): Generator<Sample> {
    for (const { labels, count } of this.#counts.values()) yield [labels, count];
  }
}
