import { createInterface } from 'node:readline';
import { AnyserveError } from '../core/errors.js';
import { findOpenTelemetryTracer } from '../telemetry/open-telemetry.js';
import { VERSION } from '../version.js';
import type { Command, CommandIo } from './command.js';
import type { Conversation } from './conversation.js';
import { MODEL_CLIENT_OPTIONS } from './model-client-options.js';
import { PARAMETER_OPTIONS, SYSTEM_OPTION } from './request-parameters.js';
import { runTerminalChat } from './terminal-chat.js';
import { TurnReader } from './turn-reader.js';

/** `anyserve chat`: holds a conversation with a model. */
export const chatCommand: Command = {
  name: 'chat',
  usage: 'NAME [--system TEXT]',
  summary:
    'Chats with a model on a replica that offers type=NAME, else model=NAME. Each turn sends the whole conversation, so ' +
    'when a replica leaves, the next turn continues on another. Ctrl-C stops a response, Ctrl-D ends the conversation. ' +
    'With piped input, each line is a turn; lines enclosed in two lines of """ are one turn.',
  examples: [
    ['anyserve chat chat', 'chat with any replica that offers type=chat'],
    ['anyserve chat llama --system "Answer in French." --temperature 0.7', 'set a system message and the temperature'],
    ['anyserve chat chat --endpoint localhost:50051', 'call one replica directly'],
    [`printf 'Hello\\nAnd in French?\\n' | anyserve chat chat --json`, 'two turns; print a JSON object for each'],
  ],
  options: { system: SYSTEM_OPTION, ...PARAMETER_OPTIONS, ...MODEL_CLIENT_OPTIONS },
  maxWords: 1,
  words: [{ suggests: 'models' }],
  async run(args, io) {
    const [model] = args.words;
    if (!model) throw new AnyserveError('usage', 'missing NAME: give the name of a model, such as chat');
    // Loaded on demand, because help and completion don't need it.
    const { Conversation } = await import('./conversation.js');
    const conversation = new Conversation(model, args, io, await findOpenTelemetryTracer(VERSION));
    try {
      // The line editor writes to stderr, because stdout carries only responses.
      return io.stdin.isTTY && io.stderr.isTTY
        ? await runTerminalChat(conversation, io)
        : await chatInLines(conversation, io);
    } finally {
      await conversation.close();
    }
  },
};

/** Sends each line or fenced message as a turn. The first turn that fails ends the conversation. */
async function chatInLines(conversation: Conversation, { stdin, interrupted }: CommandIo): Promise<number> {
  const lines = createInterface({ input: stdin, signal: interrupted });
  const { signal: never } = new AbortController();
  const reader = new TurnReader();
  const sendTurn = async (text = ''): Promise<void> => {
    if (text.trim() !== '') await conversation.sendTurn(text, never);
  };
  for await (const line of lines) await sendTurn(reader.push(line)?.text);
  await sendTurn(reader.flush());
  interrupted.throwIfAborted();
  return 0;
}
