import { AnyserveError } from '../core/errors.js';
import type { HandlerResult } from '../inference/handler-result.js';
import type { Tensors } from '../inference/inference-data.js';
import { ChatResponseBuilder, type TextOutputs } from '../inference/openai-message.js';
import { createOpenAiRequestBody } from '../inference/openai-request.js';
import { readMessages, TEXT_INPUTS, TEXT_OUTPUTS } from '../inference/text-generation.js';
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
  const answer = new ChatResponseBuilder();
  if (streaming) body.set('stream', true).set('stream_options', new Map([['include_usage', true]]));
  const whole = { text: '', reasoning: '' };
  // Some servers and proxies stream without being asked, and others ignore the request to stream.
  for await (const event of server.events(PATH, body, signal)) {
    const { text, reasoning } = server.read(() => answer.add(event));
    if (!streaming) server.read(() => append(whole, { text, reasoning }));
    else if (reasoning !== '') yield { text: [text], reasoning: [reasoning] };
    else if (text !== '') yield { text: [text] };
  }
  if (!answer.hasChoice) throw server.stranger('its response has no message');
  yield server.read(() => answer.end(whole));
}

/** Appends the texts of an event to the collected response. Throws `internal` if it gets too long. */
function append(whole: { text: string; reasoning: string }, { text, reasoning }: TextOutputs): void {
  whole.text += text;
  whole.reasoning += reasoning;
  if (whole.text.length + whole.reasoning.length <= MAX_CHARACTERS) return;
  throw new AnyserveError('internal', `its response has more than ${MAX_CHARACTERS} characters`);
}
