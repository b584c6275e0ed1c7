import { AnyserveError } from '../core/errors.js';
import type { Command } from './command.js';
import { COMPLETION_SCRIPTS, SHELLS, type Shell } from './completion-scripts.js';

/** `anyserve completion`: the script that completes command lines in a shell. */
export const completionCommand: Command = {
  name: 'completion',
  usage: `[${SHELLS.join('|')}]`,
  summary:
    'Prints a script that completes commands, options and values in a shell: the one named, else that of $SHELL. Models, ' +
    'ids and capabilities come from the API server of the command line, if it answers within half a second.',
  examples: [
    ['source <(anyserve completion bash)', 'in this bash; in ~/.bashrc, in each new one'],
    ['source <(anyserve completion zsh)', 'in this zsh; in ~/.zshrc, in each new one'],
    ['anyserve completion fish > ~/.config/fish/completions/anyserve.fish', 'in each new fish'],
  ],
  options: {},
  maxWords: 1,
  words: [{ choices: SHELLS }],
  async run(args, { stdout, env }) {
    const [word] = args.words;
    const shell = word ?? SHELLS.find((name) => env['SHELL']?.endsWith(`/${name}`)) ?? 'bash';
    if (!isShell(shell)) {
      throw new AnyserveError(
        'usage',
        `no completion for the shell ${JSON.stringify(shell)}; give ${SHELLS.join(', ')}`,
      );
    }
    stdout.write(COMPLETION_SCRIPTS[shell]);
    return 0;
  },
};

function isShell(name: string): name is Shell {
  return Object.hasOwn(COMPLETION_SCRIPTS, name);
}
