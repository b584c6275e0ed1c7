import type { Conversation } from './conversation.js';

const HELP = `/clear          clear the conversation; keep the system message
/system [TEXT]  set the system message; without TEXT, show it
/exit           end the conversation (or press Ctrl-D)
/help           show this help
"""             begin a multi-line message; end it the same way
//TEXT          send a message that begins with a slash
Ctrl-C          stop the response, or clear the line; exit on an empty line
Pasted lines form one message. Press Enter to send it.
`;

/** Outcome of a typed line: a message to send, output of a command, or the end of the conversation. */
export type TypedLine =
  | { readonly kind: 'message'; readonly text: string }
  | { readonly kind: 'output'; readonly text: string }
  | { readonly kind: 'exit' };

/** Runs a line that begins with one slash as a command. Any other line is a message. */
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
      return { kind: 'output', text: HELP };
    case 'clear':
    case 'reset':
      conversation.reset();
      return { kind: 'output', text: 'conversation cleared\n' };
    case 'system': {
      if (rest !== '') conversation.system = rest;
      const { system } = conversation;
      return {
        kind: 'output',
        text: system === undefined ? 'no system message\n' : `system message: ${system}\n`,
      };
    }
    default: {
      const advice = `/help lists the commands; to send this as a message, type /${text}`;
      return { kind: 'output', text: `unknown command /${name}; ${advice}\n` };
    }
  }
}
