import type { Capability, Pairs } from '../core/capability.js';
import { addLabels } from '../json/capability-json.js';
import { parseCap, parseQueryWords } from './argument-parsers.js';
import type { Arguments, CommandOption } from './command.js';

/** Option of the commands that register a replica. */
export const LABEL_OPTION: CommandOption = {
  type: 'text',
  value: 'KEY=VALUE',
  description: 'pair to add to every capability that does not have the key, such as zone=a',
  repeatable: true,
  spaced: true,
  check: (value) => parseQueryWords([value]),
};

/** Reads the labels. Throws `usage`. */
export function readLabels(args: Arguments): Pairs {
  return parseQueryWords(args.getTexts('label'));
}

/** Reads the capabilities of the option `--cap`, with the labels. Throws `usage`. */
export function readCapabilities(args: Arguments): readonly Capability[] {
  return addLabels(args.getTexts('cap').map(parseCap), readLabels(args));
}
