import type { Tensors } from '../inference/inference-data.js';
import { App } from './app.js';
import type { Backend } from './backend.js';

/**
 * Creates a backend for experiments. Its model returns each input as an output of the same name. For `messages`, a
 * conversation as JSON, it returns the text of the last message.
 */
export function createEchoBackend(): Backend {
  return new App().capability({ type: 'echo' }, (inputs) => {
    const text = getLastMessageText(inputs);
    return text === undefined ? inputs : { text: [text] };
  });
}

/** Returns the text of the last message, or undefined if there are no readable messages. */
function getLastMessageText({ messages }: Tensors): string | undefined {
  const [json, ...extra] = messages?.datatype === 'BYTES' ? (messages.data as readonly Uint8Array[]) : [];
  if (json === undefined || extra.length > 0) return undefined;
  try {
    const content = JSON.parse(Buffer.from(json).toString('utf8')).at(-1).content;
    const parts = Array.isArray(content) ? content.map(({ text }) => text) : [content];
    return parts.every((part) => typeof part === 'string') ? parts.join('') : undefined;
  } catch {
    return undefined;
  }
}
