import { AnyserveError } from '../core/errors.js';
import type { HandlerResult, Tensors } from '../inference/inference-data.js';
import { ChatResponseBuilder, type TextOutputs } from '../inference/openai-message.js';
import { createOpenAiRequestBody } from '../inference/openai-request.js';
import { readMessages, TEXT_INPUTS, TEXT_OUTPUTS } from '../inference/text-contract.js';
import type { InferenceContext, Model } from './backend.js';
import type { OpenaiServer } from './openai-server.js';

const PATH = '/chat/completions';

/** Maximum number of characters of a response that is collected before it is returned. */
const MAX_CHARACTERS = 16 * 1024 * 1024;

/** Creates the handler of a chat model: the text contract on top of `/chat/completions`. */
export function createOpenaiChat(server: OpenaiServer, model: string): Pick<Model, 'inputs' | 'outputs' | 'handle'> {
  return {
    inputs: TEXT_INPUTS,
    outputs: [
      ...TEXT_OUTPUTS,
      { name: 'reasoning', datatype: 'BYTES', shape: [1], optional: true },
      { name: 'tool_calls', datatype: 'BYTES', shape: [1], optional: true },
    ],
    handle: (inputs, context) => generate(server, model, inputs, context),
  };
}

/** Yields a chat completion: one result, or for streaming callers texts in pieces, and everything else with the last. */
async function* generate(
  server: OpenaiServer,
  model: string,
  inputs: Tensors,
  { parameters, streaming, signal }: InferenceContext,
): AsyncGenerator<HandlerResult> {
  const body = createOpenAiRequestBody(model, parameters).set('messages', [...readMessages(inputs)]);
  const builder = new ChatResponseBuilder();
  if (streaming) body.set('stream', true).set('stream_options', new Map([['include_usage', true]]));
  const collected = { text: '', reasoning: '' };
  // Some servers and proxies stream without being asked, and others ignore the request to stream.
  for await (const event of server.streamEvents(PATH, body, signal)) {
    const { text, reasoning } = server.addUrlToErrors(() => builder.add(event));
    if (!streaming) server.addUrlToErrors(() => append(collected, { text, reasoning }));
    else if (reasoning !== '') yield { text: [text], reasoning: [reasoning] };
    else if (text !== '') yield { text: [text] };
  }
  if (!builder.hasChoice) throw server.createIncompatibleError('its response has no message');
  yield server.addUrlToErrors(() => builder.end(collected));
}

/** Appends the texts of an event to the collected response. Throws `internal` if it gets too long. */
function append(collected: { text: string; reasoning: string }, { text, reasoning }: TextOutputs): void {
  collected.text += text;
  collected.reasoning += reasoning;
  if (collected.text.length + collected.reasoning.length <= MAX_CHARACTERS) return;
  throw new AnyserveError('internal', `its response has more than ${MAX_CHARACTERS} characters`);
}
