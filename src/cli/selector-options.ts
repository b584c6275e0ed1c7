import type { ClientOptions } from '../client/client-options.js';
import type { RouteSelection } from '../client/route-selection.js';
import { AnyserveError } from '../core/errors.js';
import type { Protocol } from '../core/protocol.js';
import { EMPTY_SELECTOR, type Selector } from '../core/selector.js';
import { parseSelector } from '../core/selector-parser.js';
import { random } from '../system.js';
import type { Arguments, CommandOption } from './command.js';

/** Option of the commands that choose among replicas, or list them. */
export const WHERE_OPTION: CommandOption = {
  type: 'text',
  value: 'SELECTOR',
  description:
    'only replicas that match, such as "ctx>=8192, zone in (a,b), gpu!=t4, !spot"; docs/selectors.md has the grammar',
};

/** Option of the commands that choose a replica. */
export const PREFER_OPTION: CommandOption = {
  type: 'text',
  value: 'SELECTOR',
  description: 'of the replicas that match, choose those that match this selector too, if there are any',
};

/** Reads both selectors. `protocol` is the one to ask for. Throws `usage`, also if the replica at an endpoint is given. */
export function readSelection(args: Arguments, protocol: Protocol | undefined, endpoint?: string): RouteSelection {
  const { where, prefer } = readSelectorTexts(args);
  if ((where ?? prefer) !== undefined && endpoint !== undefined) {
    const message = '--where and --prefer choose among the replicas of an API server; --endpoint names one';
    throw new AnyserveError('usage', message);
  }
  return { selector: readSelector(args, 'where'), preference: readSelector(args, 'prefer'), protocol, random };
}

/** Returns the selectors as they were given. */
export function readSelectorTexts(args: Arguments): Pick<ClientOptions, 'where' | 'prefer'> {
  return { where: args.getText('where'), prefer: args.getText('prefer') };
}

/** Reads a selector from an option. Throws `usage`. */
export function readSelector(args: Arguments, option: 'where' | 'prefer'): Selector {
  const text = args.getText(option);
  return text === undefined ? EMPTY_SELECTOR : parseSelector(text, `--${option}`);
}
