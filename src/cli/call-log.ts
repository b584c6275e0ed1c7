import type { Chalk } from 'chalk';
import { escapeControls } from '../core/control-characters.js';
import type { Clock } from '../core/ports.js';
import { formatTimeOfDay } from '../system.js';
import { type FinishedCall, formatCallJson } from '../telemetry/finished-call.js';
import type { CommandIo } from './command.js';
import { createColors } from './output.js';

/** Maximum time for which a line waits for others, in ms. */
const MAX_DELAY_MS = 100;

/** Size of the lines that wait at which they are written at once, in characters. */
const MAX_PENDING_LENGTH = 64 * 1024;

/** Time for which a time of day is used again, in ms. Formatting it takes 3 µs, as long as the rest of a line. */
const TIME_VALID_FOR_MS = 250;

/**
 * Writes a line for each call to stderr, without the text of the call. Lines of up to 100 ms are written together: one write for
 * each would be a quarter of the system calls of a gateway.
 */
export class CallLog {
  readonly #stderr: CommandIo['stderr'];
  readonly #colors: InstanceType<typeof Chalk>;
  readonly #clock: Clock;
  readonly #isJson: boolean;
  #pending = '';
  #cancelTimer: (() => void) | undefined;
  #time = '';
  #timeUntilMs = Number.NEGATIVE_INFINITY;

  /** `isJson`: each line is an object. */
  constructor({ stderr, env }: Pick<CommandIo, 'stderr' | 'env'>, clock: Clock, isJson = false) {
    this.#stderr = stderr;
    this.#colors = createColors(stderr, env);
    this.#clock = clock;
    this.#isJson = isJson;
  }

  add(call: FinishedCall): void {
    const line = this.#isJson ? formatCallJson(call, this.#clock.epochMs()) : this.#format(call);
    this.#pending += `${line}\n`;
    if (this.#pending.length >= MAX_PENDING_LENGTH) this.flush();
    else this.#cancelTimer ??= this.#clock.schedule(MAX_DELAY_MS, () => this.flush());
  }

  #format(call: FinishedCall): string {
    const line = escapeControls(formatCall(call));
    const isBad = call.status >= 500 || call.failure !== undefined;
    return `${this.#getTime()} ${isBad ? this.#colors.yellow(line) : line}`;
  }

  /** Writes the lines that wait. */
  flush(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    const text = this.#pending;
    this.#pending = '';
    if (text !== '') this.#stderr.write(text);
  }

  #getTime(): string {
    const nowMs = this.#clock.nowMs();
    if (nowMs >= this.#timeUntilMs) {
      this.#time = this.#colors.dim(formatTimeOfDay());
      this.#timeUntilMs = nowMs + TIME_VALID_FOR_MS;
    }
    return this.#time;
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
