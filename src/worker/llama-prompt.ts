import type { ChatHistoryItem, ChatWrapper, LlamaModel, Token } from 'node-llama-cpp';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import { quote } from '../core/quoting.js';
import type { Tensors } from '../inference/inference-data.js';
import { type ChatMessage, readMessages, readTextInput } from '../inference/text-contract.js';
import { isJsonObject, type Json } from '../json/json-value.js';

/**
 * Converts a request's `prompt` or `messages` to tokens, with the model's chat template if it has one, else the plain
 * prompt. Special tokens in a caller's text are treated as ordinary text. Throws `invalid_argument`, and `unimplemented` for
 * input that another model might support.
 */
export function tokenizePrompt(model: LlamaModel, template: ChatWrapper | undefined, inputs: Tensors): Token[] {
  const tokens = template ? tokenizeChat(model, template, readMessages(inputs)) : tokenizePlainPrompt(model, inputs);
  const { bos, shouldPrependBosToken } = model.tokens;
  if (shouldPrependBosToken && bos !== null && tokens[0] !== bos) tokens.unshift(bos);
  if (tokens.length === 0) throw new AnyserveError('invalid_argument', 'input "prompt": it has no tokens');
  return tokens;
}

function tokenizePlainPrompt(model: LlamaModel, inputs: Tensors): Token[] {
  if (inputs['messages']) {
    throw createUnsupportedError('the model has no chat template and can only continue a text; use input "prompt"');
  }
  const prompt = readTextInput(inputs, 'prompt');
  if (prompt === undefined) throw new AnyserveError('invalid_argument', 'input "prompt" is missing');
  return model.tokenize(prompt);
}

/** Returns a chat in the model's template, up to the start of its reply. A reply at the end of the chat is continued. */
function tokenizeChat(model: LlamaModel, template: ChatWrapper, messages: readonly ChatMessage[]): Token[] {
  const chatHistory = messages.map(toHistoryItem);
  if (chatHistory.at(-1)?.type !== 'model') chatHistory.push({ type: 'model', response: [] });
  try {
    return template.generateContextState({ chatHistory }).contextText.tokenize(model.tokenizer);
  } catch (cause) {
    throw createUnsupportedError(`the model's chat template rejects them: ${getErrorMessage(cause)}`, cause);
  }
}

function toHistoryItem(message: ChatMessage, index: number): ChatHistoryItem {
  const text = getText(message, index);
  const role = message.get('role');
  if (role === 'system' || role === 'user') return { type: role, text };
  // The newer name of the system role.
  if (role === 'developer') return { type: 'system', text };
  if (role === 'assistant') return { type: 'model', response: [text] };
  throw createUnsupportedError(
    `message ${index} has the role ${quote(String(role))}; supported roles: system, developer, user, assistant`,
  );
}

/** Returns the text of a message, or of all its parts. */
function getText(message: ChatMessage, index: number): string {
  const unsupported = UNSUPPORTED_FIELDS.find((key) => isNonEmpty(message.get(key)));
  if (unsupported !== undefined)
    throw createUnsupportedError(`message ${index} has ${quote(unsupported)}, which the model does not support`);
  const content = message.get('content');
  if (typeof content === 'string') return content;
  const texts = Array.isArray(content) ? content.map(getPartText) : [undefined];
  if (texts.every((text) => text !== undefined)) return texts.join('');
  const problem = `message ${index} has "content" that is not text`;
  throw Array.isArray(content)
    ? createUnsupportedError(problem)
    : new AnyserveError('invalid_argument', `input "messages": ${problem}`);
}

/** Fields of a message with content that would be lost: tool calls and audio. */
const UNSUPPORTED_FIELDS = ['tool_calls', 'function_call', 'audio'];

function isNonEmpty(value: Json | undefined): boolean {
  return value !== undefined && value !== null && !(Array.isArray(value) && value.length === 0);
}

/** Creates the error for messages that another replica might support. */
function createUnsupportedError(problem: string, cause?: unknown): AnyserveError {
  return new AnyserveError('unimplemented', `input "messages": ${problem}`, { cause });
}

function getPartText(part: Json): string | undefined {
  const text = isJsonObject(part) && part.get('type') === 'text' ? part.get('text') : undefined;
  return typeof text === 'string' ? text : undefined;
}
