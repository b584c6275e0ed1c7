/** Number of recent samples that an average is about. */
const SAMPLES = 10;

/** Time after its last sample in which an average moves to the median of all replicas, in ms. */
export const LATENCY_FADES_IN_MS = 10_000;

/**
 * Moving average of a replica's time to the first byte. Without new samples it moves to the median of all replicas, so that a
 * replica that was slow is called again.
 */
export class LatencyAverage {
  #averageMs: number | undefined;
  #sampledAtMs = 0;
  /** Number of samples in the average. Decreases while it moves to the median, which counts as one sample. */
  #count = 1;

  /** Adds a sample. The fewer samples the average has, the more each one counts. `medianMs`: undefined before any sample. */
  add(sampleMs: number, nowMs: number, medianMs: number | undefined): void {
    const averageMs = this.estimateMs(nowMs, medianMs ?? sampleMs);
    this.#count = Math.min(SAMPLES, 2 + (this.#count - 1) * (1 - this.#getFaded(nowMs)));
    this.#averageMs = averageMs + (sampleMs - averageMs) / this.#count;
    this.#sampledAtMs = nowMs;
  }

  /** Returns the expected time to the first byte, in ms. Without a sample, the median. */
  estimateMs(nowMs: number, medianMs: number): number {
    if (this.#averageMs === undefined) return medianMs;
    return this.#averageMs + this.#getFaded(nowMs) * (medianMs - this.#averageMs);
  }

  /** Returns the average without the movement to the median; undefined before the first sample. */
  get averageMs(): number | undefined {
    return this.#averageMs;
  }

  /** Returns how far the average has moved to the median: 0 to 1. */
  #getFaded(nowMs: number): number {
    return Math.min(1, (nowMs - this.#sampledAtMs) / LATENCY_FADES_IN_MS);
  }
}
