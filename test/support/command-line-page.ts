import { COMMON_OPTIONS, type Command, type CommandOption } from '../../src/cli/command.js';
import { COMMANDS } from '../../src/cli/commands.js';

/** Generates docs/command-line.md from the commands' help. */
export async function generateCommandLinePage(): Promise<string> {
  const commands = await Promise.all(COMMANDS.map((entry) => entry.load()));
  return `# The command line

This page lists the help of every command (\`anyserve COMMAND --help\`). Each option has an environment variable:
\`ANYSERVE_\` and the option's name in capitals, with \`_\` for \`-\` (\`ANYSERVE_DRAIN_TIMEOUT\`). The option overrides the
variable. The variable of a repeatable option holds one value per line. Times are written \`500ms\`, \`5s\` or \`2m\`.

Options of every command:

${formatOptionTable(COMMON_OPTIONS)}
${commands.map(formatSection).join('')}`;
}

function formatSection({ name, usage, summary, examples, options }: Command): string {
  const lines = examples.map(([line, meaning]) => `# ${meaning}\n${line}`);
  return `
## anyserve ${name}

\`anyserve ${name} ${usage}\`

${summary}

\`\`\`
${lines.join('\n')}
\`\`\`

${formatOptionTable(options)}`;
}

function formatOptionTable(options: Readonly<Record<string, CommandOption>>): string {
  const rows = Object.entries(options).map(([name, { value, description, default: defaultValue, repeatable }]) => {
    const flag = value === undefined ? `--${name}` : `--${name} ${value}`;
    const notes = [
      ...(defaultValue === undefined ? [] : [`default: \`${defaultValue}\``]),
      ...(repeatable ? ['repeatable'] : []),
    ];
    return `| \`${flag}\` | ${description.replaceAll('|', '\\|')}${notes.length > 0 ? ` (${notes.join('; ')})` : ''} |\n`;
  });
  return `| option | description |\n|---|---|\n${rows.join('')}`;
}
