import type { Log } from './ports.js';

/**
 * Characters that act on a terminal or a log instead of standing for themselves: control characters (C0, C1, DEL), those that turn
 * the direction of text around, line separators, invisible ones that make two names look the same, and lone surrogates.
 */
const ACTIVE = /[\p{Cc}\p{Bidi_Control}\p{Cs}\u200b\u2028\u2029\u2060-\u206f\ufeff\ufff9-\ufffb]/gu;

/** The same in prose, which has lines, tabs, marks of Hebrew and Arabic, and the invisible word breaks of Thai and Khmer. */
const ACTIVE_IN_PROSE = /(?![\t\n])[\p{Cc}\p{Cs}\u2028-\u202e\u2066-\u2069]/gu;

/**
 * Escapes a line from outside for a terminal or a log, in the way of JSON, so that a line of JSON means the same as before.
 * Everything that is shown to people goes through here once, at the place that writes it.
 */
export function escapeControls(text: string): string {
  return text.replace(ACTIVE, escaped);
}

/** Escapes each line of a text of ours that quotes others, such as a stack trace. */
export function escapeControlsInLines(text: string): string {
  return text.split('\n').map(escapeControls).join('\n');
}

/** Escapes prose from outside, such as the text of a model, whose lines are kept. */
export function escapeControlsInProse(text: string): string {
  return text.replace(ACTIVE_IN_PROSE, escaped);
}

/** A log whose lines are escaped before they reach the given one, which can be a program's own. */
export function createEscapingLog(log: Log): Log {
  return { info: (message) => log.info(escapeControls(message)), warn: (message) => log.warn(escapeControls(message)) };
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
