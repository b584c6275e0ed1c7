import { expect, it } from 'vitest';
import { COMMON_OPTIONS, type Command, type CommandOption } from '../../src/cli/command.js';
import { COMMANDS } from '../../src/cli/commands.js';

/** docs/command-line.md, made of what the commands say of themselves. */
async function commandLinePage(): Promise<string> {
  const commands = await Promise.all(COMMANDS.map((entry) => entry.load()));
  return `# The command line

What \`anyserve COMMAND --help\` tells, on one page. An option's variable is \`ANYSERVE_\` and its name in capitals, \`-\` as \`_\`
(\`ANYSERVE_DRAIN_TIMEOUT\`); the flag wins over it. A repeatable option's variable holds a value a line. Times are written
\`500ms\`, \`5s\` or \`2m\`.

Every command has these:

${optionTable(COMMON_OPTIONS)}
${commands.map(section).join('')}`;
}

function section({ name, usage, summary, examples, options }: Command): string {
  const lines = examples.map(([line, meaning]) => `# ${meaning}\n${line}`);
  return `
## anyserve ${name}

\`anyserve ${name} ${usage}\`

${summary}

\`\`\`
${lines.join('\n')}
\`\`\`

${optionTable(options)}`;
}

function optionTable(options: Readonly<Record<string, CommandOption>>): string {
  const rows = Object.entries(options).map(([name, { value, description, default: standard, repeatable }]) => {
    const flag = value === undefined ? `--${name}` : `--${name} ${value}`;
    const notes = [
      ...(standard === undefined ? [] : [`default: \`${standard}\``]),
      ...(repeatable ? ['repeatable'] : []),
    ];
    return `| \`${flag}\` | ${description.replaceAll('|', '\\|')}${notes.length > 0 ? ` (${notes.join('; ')})` : ''} |\n`;
  });
  return `| option | does |\n|---|---|\n${rows.join('')}`;
}

it('docs/command-line.md says what the commands say of themselves; "npm run docs" writes it anew', async () => {
  await expect(await commandLinePage()).toMatchFileSnapshot('../../docs/command-line.md');
});
