import { escapeControls } from '../core/control-characters.js';
import { clock } from '../system.js';
import type { CommandIo } from './command.js';
import { getTerminalColumns, truncateToWidth } from './terminal-width.js';

/** Answers that come sooner need no spinner. */
const DELAY_MS = 400;
const FRAME_MS = 120;

/** ASCII, so that every terminal has them. */
const FRAMES = ['|', '/', '-', '\\'];

/** To the start of the line, and erase it. */
const ERASE_LINE = '\r\u001b[K';

/** A line at a terminal that says what is waited for. */
export interface Spinner {
  /** Removes the line before something else is written to stderr; it comes back with the next frame. */
  clear(): void;
  /** Removes the line for good. Can be called again. */
  stop(): void;
}

const NO_SPINNER: Spinner = { clear: () => {}, stop: () => {} };

/** Shows on stderr what is waited for, and for how long. Does nothing unless that is a terminal that can erase a line. */
export function startSpinner(text: string, { stderr, env }: Pick<CommandIo, 'stderr' | 'env'>): Spinner {
  const columns = getTerminalColumns(stderr, env);
  if (columns === undefined || env['TERM'] === 'dumb') return NO_SPINNER;
  const startedAtMs = clock.nowMs();
  let frame = 0;
  let isShown = false;
  const show = (): void => {
    const seconds = Math.floor((clock.nowMs() - startedAtMs) / 1000);
    const line = `${FRAMES[frame++ % FRAMES.length]} ${escapeControls(text)}${seconds > 0 ? ` (${seconds}s)` : ''}`;
    // The last column stays free, so that no terminal goes on to the next line.
    stderr.write(`${ERASE_LINE}${truncateToWidth(line, columns - 1)}`);
    isShown = true;
    cancel = clock.schedule(FRAME_MS, show, { background: true });
  };
  let cancel = clock.schedule(DELAY_MS, show, { background: true });
  const clear = (): void => {
    if (isShown) stderr.write(ERASE_LINE);
    isShown = false;
  };
  return {
    clear,
    stop() {
      cancel();
      clear();
    },
  };
}
