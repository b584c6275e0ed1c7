/** Weight of the newest sample in an average. */
const SAMPLE_WEIGHT = 0.1;

/** Time after its last sample in which an average moves to the median of all replicas, in ms. */
export const LATENCY_FADES_IN_MS = 10_000;

/**
 * Moving average of a replica's time to the first byte. Without new samples it moves to the median of all replicas, so that a
 * replica that was slow is called again.
 */
export class LatencyAverage {
  #averageMs: number | undefined;
  #sampledAtMs = 0;

  /** Adds a sample. After a pause, the average starts from what it has moved to. */
  add(sampleMs: number, nowMs: number, medianMs: number): void {
    const averageMs = this.#averageMs === undefined ? sampleMs : this.estimateMs(nowMs, medianMs);
    this.#averageMs = averageMs + SAMPLE_WEIGHT * (sampleMs - averageMs);
    this.#sampledAtMs = nowMs;
  }

  /** Returns the expected time to the first byte, in ms. The median, if there is no sample. */
  estimateMs(nowMs: number, medianMs: number): number {
    if (this.#averageMs === undefined) return medianMs;
    const faded = Math.min(1, (nowMs - this.#sampledAtMs) / LATENCY_FADES_IN_MS);
    return this.#averageMs + faded * (medianMs - this.#averageMs);
  }

  /** Returns the average without the movement to the median; undefined before the first sample. */
  get averageMs(): number | undefined {
    return this.#averageMs;
  }
}
