/** A value, and the labels of its series in the order of the family's names. */
export type Sample = readonly [labels: readonly string[], value: number];

/** The count of one combination of labels. */
export interface LabelCount {
  readonly labels: readonly string[];
  count: number;
}

/** Counts by labels. The caller limits the number of their combinations. */
export class LabelCounts {
  readonly #counts = new Map<string, LabelCount>();

  /** `values` of a single label are counted from the start, so that a rate sees the first increase. */
  constructor(values: readonly string[] = []) {
    for (const value of values) this.add([value], 0);
  }

  add(labels: readonly string[], count = 1): void {
    this.get(labels).count += count;
  }

  /** Returns the count of these labels. Keep it to add to it many times. */
  get(labels: readonly string[]): LabelCount {
    const key = labels.length === 1 ? (labels[0] as string) : labels.join('\0');
    let counted = this.#counts.get(key);
    if (!counted) {
      counted = { labels, count: 0 };
      this.#counts.set(key, counted);
    }
    return counted;
  }

  *listSamples(): Generator<Sample> {
    for (const { labels, count } of this.#counts.values()) yield [labels, count];
  }
}
