/** A period, in ms since the start of a recording. `toMs` is not part of it. */
export interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

/** Returns the times that are in at least one of the spans, as sorted spans that don't touch. */
export function uniteSpans(spans: readonly Span[]): Span[] {
  const united: Span[] = [];
  for (const { fromMs, toMs } of [...spans].sort((a, b) => a.fromMs - b.fromMs)) {
    if (fromMs >= toMs) continue;
    const last = united.at(-1);
    if (last && fromMs <= last.toMs) united[united.length - 1] = { ...last, toMs: Math.max(last.toMs, toMs) };
    else united.push({ fromMs, toMs });
  }
  return united;
}

/** Returns the times that are in one of the first spans and in one of the others. */
export function intersectSpans(spans: readonly Span[], others: readonly Span[]): Span[] {
  const common = spans.flatMap((span) =>
    others.map((other) => ({
      fromMs: Math.max(span.fromMs, other.fromMs),
      toMs: Math.min(span.toMs, other.toMs),
    })),
  );
  return uniteSpans(common);
}

/** Returns the times that are in one of the first spans and in none of the others. */
export function subtractSpans(spans: readonly Span[], others: readonly Span[]): Span[] {
  const removed = uniteSpans(others);
  return uniteSpans(spans).flatMap(({ fromMs, toMs }) => {
    const starts = [fromMs, ...removed.map((span) => Math.max(fromMs, span.toMs))];
    const ends = [...removed.map((span) => Math.min(toMs, span.fromMs)), toMs];
    return starts
      .map((start, n) => ({ fromMs: start, toMs: ends[n] ?? toMs }))
      .filter((span) => span.fromMs < span.toMs);
  });
}

/** Returns whether every moment of a span is in one of the spans. */
export function coversSpan(spans: readonly Span[], { fromMs, toMs }: Span): boolean {
  return uniteSpans(spans).some((span) => span.fromMs <= fromMs && span.toMs >= toMs);
}

/** Returns a filter for spans that are longer than a limit in ms. */
export function isLongerThan(limitMs: number): (span: Span) => boolean {
  return ({ fromMs, toMs }) => toMs - fromMs > limitMs;
}

/** Formats a time for a message: `at 12.3 s`. */
export function formatTime(atMs: number): string {
  return `at ${(atMs / 1000).toFixed(3)} s`;
}

/** Formats a span for a message: `from 12.3 s to 14.0 s`. */
export function formatSpan({ fromMs, toMs }: Span): string {
  return `from ${(fromMs / 1000).toFixed(3)} s to ${(toMs / 1000).toFixed(3)} s`;
}
