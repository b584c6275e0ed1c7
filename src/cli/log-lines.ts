import type { ChalkInstance } from 'chalk';
import { escapeControls } from '../core/control-characters.js';
import type { Clock, Log, LogDetails } from '../core/ports.js';
import { truncateText } from '../core/quoting.js';
import { clock, formatLogTime, formatUtcTime } from '../system.js';
import { parseChoice } from './argument-parsers.js';
import type { Arguments, CommandIo, CommandOption } from './command.js';
import { createColors } from './output.js';

const FORMATS = ['text', 'json'] as const;

/** Levels of lines, the least severe one first. */
const LEVELS = ['info', 'warn', 'error'] as const;

export type LogLevel = (typeof LEVELS)[number];

/** Options of the commands that run for a long time. Others have their defaults. */
export const LOG_OPTIONS: Readonly<Record<string, CommandOption>> = {
  'log-format': {
    type: 'text',
    value: 'FORMAT',
    description: 'format of the log on stderr: text, or json with one object per line',
    default: 'text',
    choices: FORMATS,
  },
  'log-level': {
    type: 'text',
    value: 'LEVEL',
    description: 'least severe lines in the log: info, warn, or error for only the reason why the command fails',
    default: 'info',
    choices: LEVELS,
  },
};

/** Maximum length of a string in a line of JSON, in UTF-16 units. Anyone can send a long name. */
const MAX_FIELD_UNITS = 1024;

/** Time for which a time is used again, in ms. Formatting it takes 3 µs, as long as the rest of a line. */
const TIME_VALID_FOR_MS = 250;

/** Formats the lines of the log on stderr: as text with time and level, or as JSON. */
export class LogLines {
  readonly isJson: boolean;
  readonly #minLevel: number;
  readonly #colors: ChalkInstance;
  readonly #clock: Clock;
  #time = '';
  #timeUntilMs = Number.NEGATIVE_INFINITY;

  /** Reads {@link LOG_OPTIONS}. Throws `usage`. */
  constructor({ stderr, env }: Pick<CommandIo, 'stderr' | 'env'>, args?: Pick<Arguments, 'getText'>, time = clock) {
    this.isJson = parseChoice('log-format', args?.getText('log-format') ?? 'text', FORMATS) === 'json';
    this.#minLevel = LEVELS.indexOf(parseChoice('log-level', args?.getText('log-level') ?? 'info', LEVELS));
    this.#colors = createColors(stderr, env);
    this.#clock = time;
  }

  /** Returns whether lines of a level are written. */
  includes(level: LogLevel): boolean {
    return LEVELS.indexOf(level) >= this.#minLevel;
  }

  /** Formats a line, with its line feed. */
  format(level: LogLevel, message: string, details: LogDetails = { event: 'message' }): string {
    return this.isJson
      ? this.formatJson(level, truncateFields({ ...details, message }))
      : this.formatText(level, message);
  }

  formatText(level: LogLevel, message: string): string {
    const text = escapeControls(message);
    return `${this.#getTime()} ${level === 'info' ? `info ${text}` : this.#colors.yellow(`${level} ${text}`)}\n`;
  }

  formatJson(level: LogLevel, { event, ...fields }: LogDetails): string {
    const record = { time: formatUtcTime(this.#clock.epochMs()), level, event, ...fields };
    return `${escapeControls(JSON.stringify(record))}\n`;
  }

  #getTime(): string {
    const nowMs = this.#clock.nowMs();
    if (nowMs >= this.#timeUntilMs) {
      this.#time = this.#colors.dim(formatLogTime(this.#clock.epochMs()));
      this.#timeUntilMs = nowMs + TIME_VALID_FOR_MS;
    }
    return this.#time;
  }
}

function truncateFields({ event, ...fields }: LogDetails): LogDetails {
  const short = Object.entries(fields).map(([name, value]) => [
    name,
    typeof value === 'string' ? truncateText(value, MAX_FIELD_UNITS) : value,
  ]);
  return { event, ...Object.fromEntries(short) };
}

/** Creates the log of a command, which writes lines to stderr. Throws `usage` for invalid {@link LOG_OPTIONS}. */
export function createLog(io: Pick<CommandIo, 'stderr' | 'env'>, args?: Pick<Arguments, 'getText'>): Log {
  const lines = new LogLines(io, args);
  const write = (level: LogLevel, message: string, details: LogDetails | undefined): void => {
    if (lines.includes(level)) io.stderr.write(lines.format(level, message, details));
  };
  return {
    info: (message, details) => write('info', message, details),
    warn: (message, details) => write('warn', message, details),
  };
}
