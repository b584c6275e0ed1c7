import { type ErrorCode, messageOf } from '../core/errors.js';

/** An answer's JSON as the server wrote it. Nothing of it is certain. */
// biome-ignore lint/suspicious/noExplicitAny: whoever reads it asks for each thing whether it is there
export type Loose = any;

const CODES: Readonly<Record<number, ErrorCode>> = {
  400: 'invalid_argument',
  401: 'unauthenticated',
  403: 'permission_denied',
  404: 'not_found',
  408: 'deadline_exceeded',
  409: 'aborted',
  413: 'invalid_argument',
  422: 'invalid_argument',
  429: 'resource_exhausted',
  499: 'cancelled',
  501: 'unimplemented',
  502: 'unavailable',
  503: 'unavailable',
  504: 'deadline_exceeded',
};

/** The code of a call that an upstream answered with this HTTP status; one that is no error's is not what we asked for. */
export function codeOf(status: number): ErrorCode {
  return CODES[status] ?? (status < 500 ? 'failed_precondition' : 'internal');
}

/** The HTTP statuses that OpenAI's words for errors come with, each as a `code` or as a `type`. */
const STATUSES: ReadonlyMap<unknown, number> = new Map([
  ['invalid_request_error', 400],
  ['context_length_exceeded', 400],
  ['invalid_api_key', 401],
  ['model_not_found', 404],
  ['insufficient_quota', 429],
  ['rate_limit_exceeded', 429],
  ['overloaded_error', 503],
]);

/** The HTTP status that an error stands for which comes under another: in the middle of a stream, whose own is 200. */
export function statusOf({ code, status, type }: Loose): number {
  const found = [code, status].map(Number).find((number) => Number.isInteger(number) && number >= 400 && number < 600);
  return found ?? STATUSES.get(code) ?? STATUSES.get(type) ?? 500;
}

/** What an error's body says: `{"error":{"message":"..."}}` and its relatives, else its own text. */
export function saidIn(body: string): string {
  try {
    const { error, message, detail } = JSON.parse(body);
    const said = error?.message ?? (typeof error === 'string' ? error : (message ?? detail));
    if (said !== undefined) return messageOf(typeof said === 'string' ? said : JSON.stringify(said));
  } catch {
    // A proxy's page, or nothing: shown as it is.
  }
  return messageOf(body) || 'no reason given';
}
