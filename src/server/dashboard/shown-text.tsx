import { escapeControls } from '../../core/control-characters.js';
import { formatAge } from '../../core/durations.js';
import { truncateText } from '../../core/quoting.js';
import { formatExactTime, formatTime } from './browser.js';
import type { ShownState } from './fleet-row.js';

/** Maximum length of the text of a cell and of its title, in UTF-16 units. A value can have 1 MiB, and many rows are drawn. */
const MAX_CELL = 400;
const MAX_TITLE = 2000;

/**
 * An untrusted text in one line. The end of a long one is cut. Its title has more of it, and the details of the replica have the
 * whole text.
 */
export function CutText({ text, className = '' }: { readonly text: string; readonly className?: string }) {
  return (
    <span class={`cut ${className}`} title={toShownText(truncateText(text, MAX_TITLE))}>
      {toShownText(truncateText(text, MAX_CELL))}
    </span>
  );
}

/** Returns an untrusted text as it can be shown: with escapes for characters that can't be seen or change the direction. */
export function toShownText(text: string): string {
  return escapeControls(text);
}

/** The state of a replica. Its colour repeats what the word says. */
export function StateText({ state }: { readonly state: ShownState }) {
  return <span class={`state is-${state}`}>{state}</span>;
}

/** The time since a moment, such as `5m`. Its title is the moment. */
export function Age({ sinceMs, nowMs }: { readonly sinceMs: number | undefined; readonly nowMs: number }) {
  if (sinceMs === undefined) return <span class="none">–</span>;
  return (
    <time dateTime={formatExactTime(sinceMs)} title={formatTime(sinceMs)}>
      {formatAge(Math.max(0, nowMs - sinceMs))}
    </time>
  );
}

/** Formats a number with separators: `9,812`. */
export function formatCount(count: number): string {
  return count.toLocaleString('en');
}
