import { escapeControls } from '../core/control-characters.js';
import { clock } from '../system.js';
import type { CommandIo } from './command.js';
import { getTerminalColumns, truncateToWidth } from './terminal-width.js';

/** Delay before the spinner appears, in ms. Faster responses need none. */
const SPINNER_DELAY_MS = 400;

/** Time between two frames, in ms. */
const SPINNER_FRAME_MS = 120;

/** ASCII, so that every terminal can display them. */
const FRAMES = ['|', '/', '-', '\\'];

/** Moves to the start of the line and erases it. */
const ERASE_LINE = '\r\u001b[K';

/** A line at a terminal that shows what the program waits for. */
export interface Spinner {
  /** Removes the line before other output to stderr. The next frame shows it again. */
  clear(): void;
  /** Removes the line permanently. Idempotent. */
  stop(): void;
}

const NO_SPINNER: Spinner = { clear: () => {}, stop: () => {} };

/** Shows `text` and the elapsed time on stderr. Does nothing unless stderr is a terminal that can erase a line. */
export function startSpinner(text: string, { stderr, env }: Pick<CommandIo, 'stderr' | 'env'>): Spinner {
  const columns = getTerminalColumns(stderr, env);
  if (columns === undefined || env['TERM'] === 'dumb') return NO_SPINNER;
  const startedAtMs = clock.nowMs();
  let frame = 0;
  let isShown = false;
  const show = (): void => {
    const seconds = Math.floor((clock.nowMs() - startedAtMs) / 1000);
    const line = `${FRAMES[frame++ % FRAMES.length]} ${escapeControls(text)}${seconds > 0 ? ` (${seconds}s)` : ''}`;
    // The last column stays free, so that the terminal doesn't wrap the line.
    stderr.write(`${ERASE_LINE}${truncateToWidth(line, columns - 1)}`);
    isShown = true;
    cancel = clock.schedule(SPINNER_FRAME_MS, show, { background: true });
  };
  let cancel = clock.schedule(SPINNER_DELAY_MS, show, { background: true });
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
