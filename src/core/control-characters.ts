import type { Log } from './ports.js';

/**
 * Characters that can change what a terminal or a log shows: control characters (C0, C1, DEL), bidirectional controls, line
 * separators, invisible characters that make two names look the same, and lone surrogates.
 */
const UNSAFE = /[\p{Cc}\p{Bidi_Control}\p{Cs}\u200b\u2028\u2029\u2060-\u206f\ufeff\ufff9-\ufffb]/gu;

/** Most lines match this, and it is faster than a search for all unsafe characters. */
const PRINTABLE_ASCII = /^[ -~]*$/;

/**
 * Unsafe characters in prose. Allows line feeds, tabs, the directional marks of Hebrew and Arabic, and the invisible word
 * breaks of Thai and Khmer.
 */
const UNSAFE_IN_PROSE = /(?![\t\n])[\p{Cc}\p{Cs}\u2028-\u202e\u2066-\u2069]/gu;

/**
 * Escapes an untrusted line for a terminal or a log. Uses JSON escapes, so that a line of JSON keeps its meaning. Each output
 * calls this once, where it writes.
 */
export function escapeControls(text: string): string {
  return PRINTABLE_ASCII.test(text) ? text : text.replace(UNSAFE, escapeCharacter);
}

/** Escapes each line of a multi-line text that quotes untrusted text, such as a stack trace. */
export function escapeControlsInLines(text: string): string {
  return text.split('\n').map(escapeControls).join('\n');
}

/** Escapes untrusted prose, such as the output of a model. Keeps its line breaks. */
export function escapeControlsInProse(text: string): string {
  return text.replace(UNSAFE_IN_PROSE, escapeCharacter);
}

/**
 * Creates a log that escapes each message before it passes it to another log, such as one that the application provides. Details
 * are passed on as they are, because a format such as JSON has its own escapes.
 */
export function createEscapingLog(log: Log): Log {
  return {
    info: (message, details) => log.info(escapeControls(message), details),
    warn: (message, details) => log.warn(escapeControls(message), details),
  };
}

function escapeCharacter(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
