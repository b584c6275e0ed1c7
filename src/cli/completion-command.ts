import { AnyserveError } from '../core/errors.js';
import type { Command } from './command.js';
import { COMPLETION_SCRIPTS, SHELLS, type Shell } from './completion-scripts.js';

/** `anyserve completion`: prints the completion script of a shell. */
export const completionCommand: Command = {
  name: 'completion',
  usage: `[${SHELLS.join('|')}]`,
  summary:
    'Prints a completion script for a shell; the default is the shell in $SHELL. It completes commands, options and ' +
    'values. Models, ids and capabilities come from the API server of the command line, if it responds within 0.5 s.',
  examples: [
    ['source <(anyserve completion bash)', 'enable in this bash; add to ~/.bashrc for each new one'],
    ['source <(anyserve completion zsh)', 'enable in this zsh; add to ~/.zshrc for each new one'],
    ['anyserve completion fish > ~/.config/fish/completions/anyserve.fish', 'enable in each new fish'],
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
        `no completion for shell ${JSON.stringify(shell)}; use one of ${SHELLS.join(', ')}`,
      );
    }
    stdout.write(COMPLETION_SCRIPTS[shell]);
    return 0;
  },
};

function isShell(name: string): name is Shell {
  return Object.hasOwn(COMPLETION_SCRIPTS, name);
}
