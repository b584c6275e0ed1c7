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

/** Completions at the cursor: some values, with or without a space after them, or the names of files. */
export interface Completion {
  readonly how: 'values' | 'nospace' | 'files';
  readonly candidates: readonly Candidate[];
}

const NOTHING: Completion = { how: 'values', candidates: [] };
const FILES: Completion = { how: 'files', candidates: [] };

/** Largest number of values that are offered; nobody reads more. */
const MAX_CANDIDATES = 500;

const HELP = { value: '--help', description: 'show help' };
const VERSION = { value: '--version', description: 'show the version' };

/** Completes the last of the words behind `anyserve`. What it offers comes from the options that the parser is made of. */
export async function findCompletions(words: readonly string[], io: CommandIo): Promise<Completion> {
  const before = words.slice(0, -1);
  const current = words.at(-1) ?? '';
  const [name] = before;
  if (name === undefined) return listOf([...commandCandidates(), HELP, VERSION], current);
  if (name === 'help') return before.length === 1 ? listOf(commandCandidates(), current) : NOTHING;
  const entry = COMMANDS.find((one) => one.name === name);
  if (!entry) return NOTHING;
  const command = await entry.load();
  const line = readWords(command, before.slice(1));
  if (line.isBehindDashes) return command.runsProgram ? FILES : NOTHING;
  const source = { command, before: line.complete, io };
  if (line.open) return completeValue(line.open, current, '', source);
  const [, option = '', value] = /^--([^=]+)=(.*)$/s.exec(current) ?? [];
  if (value !== undefined) return completeValue(optionsOf(command)[option], value, `--${option}=`, source);
  if (current.startsWith('-')) return listOf(optionCandidates(command, line.given), current);
  if (line.wordCount >= command.maxWords) return NOTHING;
  return completeValue(command.words?.[line.wordCount] ?? command.words?.at(-1), current, '', source);
}

function commandCandidates(): Candidate[] {
  return COMMANDS.map(({ name, summary }) => ({ value: name, description: summary }));
}

function optionsOf(command: Command): Readonly<Record<string, CommandOption>> {
  return Object.assign(Object.create(null), command.options, COMMON_OPTIONS);
}

function optionCandidates(command: Command, given: ReadonlySet<string>): Candidate[] {
  const open = Object.entries(optionsOf(command)).filter(([name, { repeatable }]) => repeatable || !given.has(name));
  return [...open.map(([name, { description }]) => ({ value: `--${name}`, description })), HELP];
}

/** The words of a command before the cursor. */
interface ReadWords {
  /** The words without an option that still needs its value. */
  readonly complete: readonly string[];
  /** The option that the word at the cursor is the value of. */
  readonly open: CommandOption | undefined;
  readonly given: ReadonlySet<string>;
  readonly wordCount: number;
  readonly isBehindDashes: boolean;
}

function readWords(command: Command, words: readonly string[]): ReadWords {
  const options = optionsOf(command);
  const given = new Set<string>();
  let wordCount = 0;
  for (let at = 0; at < words.length; at++) {
    const word = words[at] as string;
    if (word === '--') return { complete: words, open: undefined, given, wordCount, isBehindDashes: true };
    const [, name = '', value] = /^--([^=]+)(=.*)?$/s.exec(word) ?? [];
    if (name !== '') given.add(name);
    else if (!word.startsWith('-')) wordCount++;
    const option = options[name];
    if (option?.type !== 'text' || option.mayStandAlone || value !== undefined) continue;
    // The next word is its value.
    at++;
    if (at === words.length)
      return { complete: words.slice(0, -1), open: option, given, wordCount, isBehindDashes: false };
  }
  return { complete: words, open: undefined, given, wordCount, isBehindDashes: false };
}

interface Source {
  readonly command: Command;
  readonly before: readonly string[];
  readonly io: CommandIo;
}

/** Completes a value behind a prefix that stays: `--probe=`, or the pairs of a capability before the last comma. */
async function completeValue(
  takes: (Suggestions & { readonly default?: string; readonly value?: string }) | undefined,
  current: string,
  prefix: string,
  { command, before, io }: Source,
): Promise<Completion> {
  if (!takes) return NOTHING;
  if (takes.suggests === 'files' || takes.value === 'FILE') return FILES;
  if (takes.suggests === undefined) {
    const values = takes.choices ?? (takes.default === undefined ? [] : [takes.default]);
    return listOf(
      values.map((value) => ({ value, description: '' })),
      current,
      prefix,
    );
  }
  const isList = takes.suggests === 'capability';
  const kept = isList ? current.slice(0, current.lastIndexOf(',') + 1) : '';
  const found = await fetchCompletionValues(takes.suggests, current.slice(kept.length), { command, words: before, io });
  return listOf(found, current.slice(kept.length), prefix + kept);
}

function listOf(all: readonly Candidate[], current: string, prefix = ''): Completion {
  const candidates = all
    .filter(({ value }) => value.startsWith(current))
    .slice(0, MAX_CANDIDATES)
    .map(({ value, description }) => ({ value: prefix + value, description }));
  const isPartial = candidates.length > 0 && candidates.every(({ value }) => value.endsWith('='));
  return { how: isPartial ? 'nospace' : 'values', candidates };
}
