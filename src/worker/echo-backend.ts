import type { Tensors } from '../inference/inference-data.js';
import { App } from './app.js';
import type { Backend } from './backend.js';

/**
 * A model for trying things out: it answers with its inputs, each as an output of the same name. To `messages`, a
 * conversation in JSON, it answers with the text of the last one.
 */
export function createEchoBackend(): Backend {
  return new App().capability({ type: 'echo' }, (inputs) => {
    const text = lastText(inputs);
    return text === undefined ? inputs : { text: [text] };
  });
}

/** The text of the last message; undefined when there are no messages that can be read. */
function lastText({ messages }: Tensors): string | undefined {
  const [json, ...others] = messages?.datatype === 'BYTES' ? (messages.data as readonly Uint8Array[]) : [];
  if (json === undefined || others.length > 0) return undefined;
  try {
    const content = JSON.parse(Buffer.from(json).toString('utf8')).at(-1).content;
    const parts = Array.isArray(content) ? content.map(({ text }) => text) : [content];
    return parts.every((part) => typeof part === 'string') ? parts.join('') : undefined;
  } catch {
    return undefined;
  }
}
