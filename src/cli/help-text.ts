import type { Command, CommandOption } from './command.js';

type Example = readonly [commandLine: string, meaning: string];

const EXAMPLES: readonly Example[] = [
  ['anyserve serve', 'run an API server'],
  ['anyserve worker --backend echo --cap type=chat', 'serve a model and register it'],
  ['anyserve route type=chat', 'find a replica that can chat'],
  ['anyserve infer chat "Hello"', 'call it'],
  ['anyserve chat chat', 'talk with it'],
];

/** The start of `anyserve --help`, before the list of commands. */
export function formatGeneralHelp(columns: number): string {
  const lineWidth = Math.max(...EXAMPLES.map(([line]) => line.length));
  const rows = EXAMPLES.map(([line, meaning]) => `  ${line.padEnd(lineWidth)}   ${meaning}`);
  const examples = rows.every((row) => row.length <= columns)
    ? `Examples:\n${rows.join('\n')}`
    : exampleList(EXAMPLES, columns);
  return `${examples}\n\n${wrapText('"anyserve COMMAND --help" shows the options of each command.', columns)}`;
}

/** The start of the help of a command, before its options. */
export function formatCommandHelp({ name, usage, summary, examples }: Command, columns: number): string {
  const usageText = wrapText(`Usage: anyserve ${name} ${usage}`, columns, '  ');
  return `${exampleList(examples, columns)}\n\n${usageText}\n\n${wrapText(summary, columns)}`;
}

function exampleList(examples: readonly Example[], columns: number): string {
  const lines = examples.flatMap(([line, meaning]) => [
    continuedLine(line, columns),
    wrapText(`      ${meaning}`, columns, '      '),
  ]);
  return `Examples:\n${lines.join('\n')}`;
}

/** A command line that goes on behind `\`, so that it can still be copied, where the terminal ends. */
function continuedLine(commandLine: string, columns: number): string {
  // Words, with the spaces that are inside of quotes.
  const words = commandLine.match(/(?:[^\s"']|"[^"]*"|'[^']*')+/g) ?? [];
  return filled(words, columns - 2, '  ', '    ').join(' \\\n');
}

/** A text in lines of at most so many columns, those after the first with an indent. */
export function wrapText(text: string, columns: number, indent = ''): string {
  const [start = ''] = /^ */.exec(text) ?? [];
  return filled(text.trim().split(' '), columns, start, indent).join('\n');
}

function filled(words: readonly string[], columns: number, start: string, indent: string): string[] {
  const lines: string[] = [];
  let line = start;
  let isEmpty = true;
  for (const word of words) {
    if (!isEmpty && line.length + 1 + word.length > columns) {
      lines.push(line);
      line = indent;
      isEmpty = true;
    }
    line += isEmpty ? word : ` ${word}`;
    isEmpty = false;
  }
  return [...lines, line];
}

/** An option as the parser takes it, with the text that the help shows. */
export function toYargsOption(name: string, option: CommandOption) {
  const notes = [
    ...(option.repeatable ? ['repeatable'] : []),
    ...(option.default === undefined ? [] : [`default: ${option.default}`]),
    `variable: ${toVariableName(name)}`,
  ];
  const value = option.value === undefined ? '' : `${option.value}: `;
  return {
    description: `${value}${option.description} [${notes.join('; ')}]`,
    requiresArg: option.type === 'text' && !option.mayStandAlone,
    type: option.type === 'flag' ? ('boolean' as const) : ('string' as const),
    ...(option.type === 'flag' ? { default: undefined } : {}),
  };
}

/** The environment variable of an option. */
export function toVariableName(option: string): string {
  return `ANYSERVE_${option.replaceAll('-', '_').toUpperCase()}`;
}
