import type { Command, CommandOption } from './command.js';

type Example = readonly [commandLine: string, meaning: string];

const EXAMPLES: readonly Example[] = [
  ['anyserve serve', 'run an API server'],
  ['anyserve worker --backend echo --cap type=chat', 'serve and register a model'],
  ['anyserve route type=chat', 'find a replica that offers type=chat'],
  ['anyserve infer chat "Hello"', 'call the model'],
  ['anyserve chat chat', 'chat with the model'],
];

/** Returns the start of `anyserve --help`, before the list of commands. */
export function formatGeneralHelp(columns: number): string {
  const lineWidth = Math.max(...EXAMPLES.map(([line]) => line.length));
  const rows = EXAMPLES.map(([line, meaning]) => `  ${line.padEnd(lineWidth)}   ${meaning}`);
  const examples = rows.every((row) => row.length <= columns)
    ? `Examples:\n${rows.join('\n')}`
    : formatExamples(EXAMPLES, columns);
  return `${examples}\n\n${wrapText('Run "anyserve COMMAND --help" for the options of a command.', columns)}`;
}

/** Returns the start of a command's help, before its options. */
export function formatCommandHelp({ name, usage, summary, examples }: Command, columns: number): string {
  const usageText = wrapText(`Usage: anyserve ${name} ${usage}`, columns, '  ');
  return `${formatExamples(examples, columns)}\n\n${usageText}\n\n${wrapText(summary, columns)}`;
}

function formatExamples(examples: readonly Example[], columns: number): string {
  const lines = examples.flatMap(([line, meaning]) => [
    wrapCommandLine(line, columns),
    wrapText(`      ${meaning}`, columns, '      '),
  ]);
  return `Examples:\n${lines.join('\n')}`;
}

/** Wraps a command line with trailing `\`, so that it can still be copied. */
function wrapCommandLine(commandLine: string, columns: number): string {
  // Splits at spaces outside of quotes.
  const words = commandLine.match(/(?:[^\s"']|"[^"]*"|'[^']*')+/g) ?? [];
  return fillLines(words, columns - 2, '  ', '    ').join(' \\\n');
}

/** Wraps a string at a number of columns. `indent` precedes each line after the first. */
export function wrapText(text: string, columns: number, indent = ''): string {
  const [start = ''] = /^ */.exec(text) ?? [];
  return fillLines(text.trim().split(' '), columns, start, indent).join('\n');
}

function fillLines(words: readonly string[], columns: number, start: string, indent: string): string[] {
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

/** Converts an option for yargs, including its line in the help. */
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
    ...(option.letter === undefined ? {} : { alias: option.letter }),
    ...(option.type === 'flag' ? { default: undefined } : {}),
  };
}

/** Returns the name of an option's environment variable. */
export function toVariableName(option: string): string {
  return `ANYSERVE_${option.replaceAll('-', '_').toUpperCase()}`;
}
