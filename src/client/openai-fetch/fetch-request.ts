import { getErrorMessage } from '../../core/errors.js';
import { quote } from '../../core/quoting.js';
import type { ConversationMembers } from '../http-calls/affinity-key.js';
import { createRequestError, type OpenaiError } from '../http-calls/openai-error.js';
import { findStoredMember, type StoredMember } from '../http-calls/stored-state.js';

/** A request that was passed to a fetch. */
export interface FetchRequest {
  readonly method: string;
  readonly url: URL;
  /** Names and values in turn. */
  readonly headers: readonly string[];
  readonly body: Buffer;
  /** The body before it was serialized, if it was a form. */
  readonly form: FormData | undefined;
  readonly contentType: string;
}

/** The parts of a body that decide which replica gets the request. */
export interface RequestedModel extends ConversationMembers {
  readonly kind: 'found';
  readonly model: string;
  /** Whether the response is to be a stream of events. */
  readonly isStream: boolean;
  /** The member that refers to what one engine keeps. */
  readonly storedMember: StoredMember | undefined;
}

type FetchArguments = Parameters<typeof fetch>;

/** End of the base URL of an OpenAI client. What follows it is the path at a replica. */
const API_PREFIX = '/v1';

/** Returns the signal that cancels a request. */
export function getSignal([input, init]: FetchArguments): AbortSignal | undefined {
  return init?.signal ?? (input instanceof Request ? input.signal : undefined);
}

/** Reads the arguments of a fetch, with the whole body. Rejects with a `TypeError` if they are not valid, as `fetch` does. */
export async function readFetchRequest([input, init]: FetchArguments): Promise<FetchRequest> {
  const { body, headers, method } = init ?? {};
  const form = body instanceof FormData ? body : undefined;
  // OpenAI's client passes these types. A `Request` would take more time than all the rest.
  if (typeof input === 'string' && typeof body === 'string' && headers instanceof Headers) {
    const contentType = headers.get('content-type');
    if (contentType !== null && method !== undefined)
      return { method, url: new URL(input), headers: listHeaders(headers), body: Buffer.from(body), form, contentType };
  }
  // Without the signal: a `Request` would listen to it until it is collected.
  const request = new Request(input, { ...init, signal: null });
  return {
    method: request.method,
    url: new URL(request.url),
    headers: listHeaders(request.headers),
    body: Buffer.from(await request.arrayBuffer()),
    form,
    contentType: request.headers.get('content-type') ?? '',
  };
}

/** Returns the path of a request after the base URL: `/chat/completions`. */
export function getPath({ url: { pathname } }: FetchRequest): string {
  const at = `${pathname}/`.indexOf(`${API_PREFIX}/`);
  return at < 0 ? pathname : pathname.slice(at + API_PREFIX.length);
}

/** Finds the model in the body of a request, or returns the error for a request without one. */
export async function readRequestedModel(
  request: FetchRequest,
): Promise<RequestedModel | { readonly kind: 'refused'; readonly error: OpenaiError }> {
  const { method, body, contentType } = request;
  if (body.length === 0) {
    const reason = 'names no model in its body, so it is not known which replica it is for';
    return refuse(`${method} ${quote(getPath(request))} ${reason}; call that engine directly`);
  }
  try {
    const members = /^\s*multipart\//i.test(contentType) ? await readForm(request) : readObject(body);
    const { model, stream, user, prompt_cache_key: promptCacheKey } = members;
    if (typeof model !== 'string' || model === '') return refuse('the body has no "model"');
    return {
      kind: 'found',
      model,
      isStream: stream === true || stream === 'true',
      storedMember: findStoredMember(getPath(request), (name) => members[name]),
      promptCacheKey: toText(promptCacheKey),
      user: toText(user),
    };
  } catch (error) {
    return refuse(`the body can't be read: ${getErrorMessage(error)}`);
  }
}

type Members = Readonly<Record<string, unknown>>;

function readObject(body: Buffer): Members {
  const value: unknown = JSON.parse(body.toString());
  return typeof value === 'object' && value !== null ? (value as Members) : {};
}

async function readForm({ form, body, contentType }: FetchRequest): Promise<Members> {
  const fields = form ?? (await new Response(body, { headers: { 'content-type': contentType } }).formData());
  return { model: fields.get('model'), stream: fields.get('stream') };
}

function toText(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function listHeaders(headers: Headers): string[] {
  const list: string[] = [];
  for (const [name, value] of headers) list.push(name, value);
  return list;
}

function refuse(message: string): { readonly kind: 'refused'; readonly error: OpenaiError } {
  return { kind: 'refused', error: createRequestError(message) };
}
