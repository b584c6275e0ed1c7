import type { ChatHistoryItem, ChatWrapper, LlamaModel, Token } from 'node-llama-cpp';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import { quote } from '../core/quoting.js';
import type { Tensors } from '../inference/inference-data.js';
import { type ChatMessage, readMessages, readTextInput } from '../inference/text-generation.js';
import { isJsonObject, type Json } from '../json/exact-json.js';

/**
 * The tokens that a request's `prompt` or `messages` are to a model: in its chat template, where it has one, else the
 * prompt as it stands. Special tokens that a caller spells out are ordinary text. Throws `invalid_argument`, and
 * `unimplemented` for what another model may take.
 */
export function tokenizePrompt(model: LlamaModel, template: ChatWrapper | undefined, inputs: Tensors): Token[] {
  const tokens = template ? chatTokens(model, template, readMessages(inputs)) : plainTokens(model, inputs);
  const { bos, shouldPrependBosToken } = model.tokens;
  if (shouldPrependBosToken && bos !== null && tokens[0] !== bos) tokens.unshift(bos);
  if (tokens.length === 0) throw new AnyserveError('invalid_argument', 'input "prompt": it has no tokens');
  return tokens;
}

function plainTokens(model: LlamaModel, inputs: Tensors): Token[] {
  if (inputs['messages']) {
    throw other('the model has no chat template and only goes on with a text; give input "prompt"');
  }
  const prompt = readTextInput(inputs, 'prompt');
  if (prompt === undefined) throw new AnyserveError('invalid_argument', 'give input "prompt"');
  return model.tokenize(prompt);
}

/** A chat in the model's template, up to where its answer begins; an answer at the end is one to go on with. */
function chatTokens(model: LlamaModel, template: ChatWrapper, messages: readonly ChatMessage[]): Token[] {
  const chatHistory = messages.map(historyItem);
  if (chatHistory.at(-1)?.type !== 'model') chatHistory.push({ type: 'model', response: [] });
  try {
    return template.generateContextState({ chatHistory }).contextText.tokenize(model.tokenizer);
  } catch (cause) {
    throw other(`the model's chat template does not take them: ${getErrorMessage(cause)}`, cause);
  }
}

function historyItem(message: ChatMessage, at: number): ChatHistoryItem {
  const text = textOf(message, at);
  const role = message.get('role');
  if (role === 'system' || role === 'user') return { type: role, text };
  // The newer name of the system's messages.
  if (role === 'developer') return { type: 'system', text };
  if (role === 'assistant') return { type: 'model', response: [text] };
  throw other(
    `message ${at} has the role ${quote(String(role))}; the model knows system, developer, user and assistant`,
  );
}

/** What a message says: its text, or those of its parts. */
function textOf(message: ChatMessage, at: number): string {
  const carried = NOT_CARRIED.find((key) => isGiven(message.get(key)));
  if (carried !== undefined) throw other(`message ${at} has ${quote(carried)}, which the model cannot read`);
  const content = message.get('content');
  if (typeof content === 'string') return content;
  const texts = Array.isArray(content) ? content.map(partText) : [undefined];
  if (texts.every((text) => text !== undefined)) return texts.join('');
  const problem = `message ${at} has other "content" than text`;
  throw Array.isArray(content) ? other(problem) : new AnyserveError('invalid_argument', `input "messages": ${problem}`);
}

/** What a message may have beside its content, and would be lost: calls of tools, and sound. */
const NOT_CARRIED = ['tool_calls', 'function_call', 'audio'];

function isGiven(value: Json | undefined): boolean {
  return value !== undefined && value !== null && !(Array.isArray(value) && value.length === 0);
}

/** Messages that another replica may be able to read. */
function other(problem: string, cause?: unknown): AnyserveError {
  return new AnyserveError('unimplemented', `input "messages": ${problem}`, { cause });
}

function partText(part: Json): string | undefined {
  const text = isJsonObject(part) && part.get('type') === 'text' ? part.get('text') : undefined;
  return typeof text === 'string' ? text : undefined;
}
