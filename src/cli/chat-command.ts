import { createInterface } from 'node:readline';
import { AnyserveError } from '../core/errors.js';
import type { Command, CommandIo } from './command.js';
import type { Conversation } from './conversation.js';
import { MODEL_CLIENT_OPTIONS } from './model-client-options.js';
import { PARAMETER_OPTIONS, SYSTEM_OPTION } from './request-parameters.js';
import { runTerminalChat } from './terminal-chat.js';
import { TurnReader } from './turn-reader.js';

/** `anyserve chat`: a conversation with a model. */
export const chatCommand: Command = {
  name: 'chat',
  usage: 'NAME [--system TEXT]',
  summary:
    'Talks with a model: finds a replica that offers type=NAME, else model=NAME, and sends it the whole conversation ' +
    'with each turn; when a replica goes, the next turn finds another. Ctrl-C ends an answer, Ctrl-D the conversation. ' +
    'From a pipe, each line is a turn, and so are the lines between two with """.',
  examples: [
    ['anyserve chat chat', 'talk with any replica that can chat'],
    ['anyserve chat llama --system "Answer in French." --temperature 0.7', 'tell it how to answer'],
    ['anyserve chat chat --endpoint localhost:50051', 'straight at a replica'],
    [`printf 'Hello\\nAnd in French?\\n' | anyserve chat chat --json`, 'two turns, an object each'],
  ],
  options: { system: SYSTEM_OPTION, ...PARAMETER_OPTIONS, ...MODEL_CLIENT_OPTIONS },
  maxWords: 1,
  words: [{ suggests: 'models' }],
  async run(args, io) {
    const [model] = args.words;
    if (!model) throw new AnyserveError('usage', 'give the name of a model, such as chat');
    // Loaded here, because the help and completion need nothing of it.
    const { Conversation } = await import('./conversation.js');
    const conversation = new Conversation(model, args, io);
    try {
      // Lines are edited on stderr, because stdout carries the answers alone.
      return io.stdin.isTTY && io.stderr.isTTY
        ? await runTerminalChat(conversation, io)
        : await talkInLines(conversation, io);
    } finally {
      await conversation.close();
    }
  },
};

/** Each line or fenced message is a turn; the first that fails ends the conversation. */
async function talkInLines(conversation: Conversation, { stdin, interrupted }: CommandIo): Promise<number> {
  const lines = createInterface({ input: stdin, signal: interrupted });
  const { signal: never } = new AbortController();
  const reader = new TurnReader();
  const say = async (text = ''): Promise<void> => {
    if (text.trim() !== '') await conversation.turn(text, never);
  };
  for await (const line of lines) await say(reader.take(line)?.text);
  await say(reader.leave());
  interrupted.throwIfAborted();
  return 0;
}
