import type { Clock } from '../core/ports.js';
import { describeCall, type FinishedCall } from '../telemetry/finished-call.js';
import type { CommandIo } from './command.js';
import type { LogLines } from './log-lines.js';

/** Maximum time for which a line waits for others, in ms. */
const MAX_DELAY_MS = 100;

/** Maximum size of the lines that wait, in bytes. */
const MAX_PENDING_BYTES = 64 * 1024;

/** Maximum size of a UTF-16 unit in UTF-8, in bytes. */
const MAX_UNIT_BYTES = 3;

/**
 * Writes a line for each call to stderr, without the text of the call. Lines of up to 100 ms are written together: one write for
 * each would be a quarter of the system calls of a gateway. They wait as bytes outside of V8's heap. A string that grows is a tree of
 * its parts, 1 KB for each line, which V8 would move to its old generation: that grew by 1 MB with every 900 calls.
 */
export class CallLog {
  readonly #stderr: CommandIo['stderr'];
  readonly #lines: LogLines;
  readonly #clock: Clock;
  readonly #pending = Buffer.allocUnsafeSlow(MAX_PENDING_BYTES);
  #pendingBytes = 0;
  #cancelTimer: (() => void) | undefined;

  constructor(stderr: CommandIo['stderr'], lines: LogLines, clock: Clock) {
    this.#stderr = stderr;
    this.#lines = lines;
    this.#clock = clock;
  }

  add(call: FinishedCall): void {
    const level = call.status >= 500 || call.failure !== undefined ? 'warn' : 'info';
    const lines = this.#lines;
    if (!lines.includes(level)) return;
    this.#append(
      lines.isJson ? lines.formatJson(level, describeCall(call)) : lines.formatText(level, formatCall(call)),
    );
  }

  #append(line: string): void {
    const maxBytes = line.length * MAX_UNIT_BYTES;
    if (this.#pendingBytes + maxBytes > MAX_PENDING_BYTES) this.flush();
    if (maxBytes > MAX_PENDING_BYTES) {
      this.#stderr.write(line);
      return;
    }
    this.#pendingBytes += this.#pending.write(line, this.#pendingBytes);
    this.#cancelTimer ??= this.#clock.schedule(MAX_DELAY_MS, () => this.flush());
  }

  /** Writes the lines that wait. */
  flush(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    const text = this.#pending.toString('utf8', 0, this.#pendingBytes);
    this.#pendingBytes = 0;
    if (text !== '') this.#stderr.write(text);
  }
}

function formatCall({
  caller,
  path,
  model = '-',
  replicaId,
  status,
  attempts,
  durationMs,
  failure,
}: FinishedCall): string {
  let line = `${path} ${model}: ${status}, ${durationMs.toFixed(1)} ms`;
  if (replicaId !== undefined) line += `, replica ${replicaId}`;
  if (attempts > 1) line += `, ${attempts} attempts`;
  if (caller !== undefined) line += `, key ${caller}`;
  return failure === undefined ? line : `${line}, ${failure}`;
}
