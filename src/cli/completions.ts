import {
  type Candidate,
  COMMON_OPTIONS,
  type Command,
  type CommandIo,
  type CommandOption,
  type Suggestions,
} from './command.js';
import { COMMANDS } from './commands.js';
import { fetchCompletionValues } from './completion-values.js';

/** Completion at the cursor: values, values without a trailing space, or file names. */
export interface Completion {
  readonly how: 'values' | 'nospace' | 'files';
  readonly candidates: readonly Candidate[];
}

const NOTHING: Completion = { how: 'values', candidates: [] };
const FILES: Completion = { how: 'files', candidates: [] };

/** Maximum number of values offered. */
const MAX_CANDIDATES = 500;

const HELP = { value: '--help', description: 'show help' };
const VERSION = { value: '--version', description: 'show the version' };

/** Completes the last of the words after `anyserve`, from the same option tables that the parser uses. */
export async function findCompletions(words: readonly string[], io: CommandIo): Promise<Completion> {
  const before = words.slice(0, -1);
  const current = words.at(-1) ?? '';
  const [name] = before;
  if (name === undefined) return filterCandidates([...listCommands(), HELP, VERSION], current);
  if (name === 'help') return before.length === 1 ? filterCandidates(listCommands(), current) : NOTHING;
  const entry = COMMANDS.find((one) => one.name === name);
  if (!entry) return NOTHING;
  const command = await entry.load();
  const line = parseWords(command, before.slice(1));
  if (line.isAfterDashes) return command.runsProgram ? FILES : NOTHING;
  const source = { command, before: line.complete, io };
  if (line.openOption) return completeValue(line.openOption, current, '', source);
  const [, option = '', value] = /^--([^=]+)=(.*)$/s.exec(current) ?? [];
  if (value !== undefined) return completeValue(getOptions(command)[option], value, `--${option}=`, source);
  if (current.startsWith('-')) return filterCandidates(listOptions(command, line.usedOptions), current);
  if (line.wordCount >= command.maxWords) return NOTHING;
  return completeValue(command.words?.[line.wordCount] ?? command.words?.at(-1), current, '', source);
}

function listCommands(): Candidate[] {
  return COMMANDS.map(({ name, listSummary: summary }) => ({ value: name, description: summary }));
}

function getOptions(command: Command): Readonly<Record<string, CommandOption>> {
  return Object.assign(Object.create(null), command.options, COMMON_OPTIONS);
}

function listOptions(command: Command, usedOptions: ReadonlySet<string>): Candidate[] {
  const available = Object.entries(getOptions(command)).filter(
    ([name, { repeatable }]) => repeatable || !usedOptions.has(name),
  );
  return [...available.map(([name, { description }]) => ({ value: `--${name}`, description })), HELP];
}

/** The words of a command before the cursor, parsed. */
interface ParsedWords {
  /** The words without a trailing option that lacks its value. */
  readonly complete: readonly string[];
  /** Option whose value is at the cursor. */
  readonly openOption: CommandOption | undefined;
  /** Names of the options on the command line. */
  readonly usedOptions: ReadonlySet<string>;
  readonly wordCount: number;
  readonly isAfterDashes: boolean;
}

function parseWords(command: Command, words: readonly string[]): ParsedWords {
  const options = getOptions(command);
  const usedOptions = new Set<string>();
  let wordCount = 0;
  for (let index = 0; index < words.length; index++) {
    const word = words[index] as string;
    if (word === '--') return { complete: words, openOption: undefined, usedOptions, wordCount, isAfterDashes: true };
    const [, name = findLongName(options, word), value] = /^--([^=]+)(=.*)?$/s.exec(word) ?? [];
    if (name !== '') usedOptions.add(name);
    else if (!word.startsWith('-')) wordCount++;
    const option = options[name];
    if (option?.type !== 'text' || option.mayStandAlone || value !== undefined) continue;
    // The next word is the value of the option.
    index++;
    if (index === words.length)
      return { complete: words.slice(0, -1), openOption: option, usedOptions, wordCount, isAfterDashes: false };
  }
  return { complete: words, openOption: undefined, usedOptions, wordCount, isAfterDashes: false };
}

/** Returns the name of the option that a word such as `-o` stands for; an empty string for any other word. */
function findLongName(options: Readonly<Record<string, CommandOption>>, word: string): string {
  const letter = /^-([a-z])$/.exec(word)?.[1];
  const [name = ''] = Object.entries(options).find(([, option]) => letter && option.letter === letter) ?? [];
  return name;
}

/** The command line that values are completed for. */
interface CompletionSource {
  readonly command: Command;
  readonly before: readonly string[];
  readonly io: CommandIo;
}

/** Completes a value after a prefix, such as `--probe=` or the pairs of a capability before the last comma. */
async function completeValue(
  target: (Suggestions & { readonly default?: string; readonly value?: string }) | undefined,
  current: string,
  prefix: string,
  { command, before, io }: CompletionSource,
): Promise<Completion> {
  if (!target) return NOTHING;
  if (target.suggests === 'files' || target.value === 'FILE') return FILES;
  if (target.suggests === undefined) {
    const values = target.choices ?? (target.default === undefined ? [] : [target.default]);
    return filterCandidates(
      values.map((value) => ({ value, description: '' })),
      current,
      prefix,
    );
  }
  const isList = target.suggests === 'capability';
  const listPrefix = isList ? current.slice(0, current.lastIndexOf(',') + 1) : '';
  const found = await fetchCompletionValues(target.suggests, current.slice(listPrefix.length), {
    command,
    words: before,
    io,
  });
  return filterCandidates(found, current.slice(listPrefix.length), prefix + listPrefix);
}

/** Keeps the candidates that start with `current`, and puts `prefix` in front of each. */
function filterCandidates(all: readonly Candidate[], current: string, prefix = ''): Completion {
  const candidates = all
    .filter(({ value }) => value.startsWith(current))
    .slice(0, MAX_CANDIDATES)
    .map(({ value, description }) => ({ value: prefix + value, description }));
  const isPartial = candidates.length > 0 && candidates.every(({ value }) => value.endsWith('='));
  return { how: isPartial ? 'nospace' : 'values', candidates };
}
