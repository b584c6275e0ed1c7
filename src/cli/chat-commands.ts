import type { Conversation } from './conversation.js';

const HELP = `/clear          forget what was said
/system [TEXT]  tell the model how to answer, from now on; without TEXT, show what it is told
/exit           end the conversation, as does Ctrl-D
/help           this
"""             begin a message of several lines; end it the same way
//TEXT          a message that begins with a slash
Ctrl-C          end the answer under way, or clear the line; on an empty line, leave
Several lines pasted at once are one message, sent with Enter.
`;

/** The outcome of a line that was typed: a message to send, a command that was done, or the end. */
export type TypedLine =
  | { readonly kind: 'message'; readonly text: string }
  | { readonly kind: 'done'; readonly said: string }
  | { readonly kind: 'exit' };

/** Carries out a line that begins with a slash; other lines, and those that begin with two, are messages. */
export function interpretLine(line: string, conversation: Pick<Conversation, 'reset' | 'system'>): TypedLine {
  const text = line.trim();
  if (!text.startsWith('/')) return { kind: 'message', text: line };
  if (text.startsWith('//')) return { kind: 'message', text: text.slice(1) };
  const [, name = '', rest = ''] = /^\/(\S*)\s*(.*)$/s.exec(text) ?? [];
  switch (name) {
    case 'exit':
    case 'quit':
    case 'bye':
      return { kind: 'exit' };
    case 'help':
    case '?':
      return { kind: 'done', said: HELP };
    case 'clear':
    case 'reset':
      conversation.reset();
      return { kind: 'done', said: 'forgotten\n' };
    case 'system': {
      if (rest !== '') conversation.system = rest;
      const { system } = conversation;
      return {
        kind: 'done',
        said: system === undefined ? 'the model is told nothing\n' : `the model is told: ${system}\n`,
      };
    }
    default: {
      const advice = `/help lists the commands; for a message that begins with a slash, type /${text}`;
      return { kind: 'done', said: `there is no /${name}; ${advice}\n` };
    }
  }
}
