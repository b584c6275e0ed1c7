import type { ServerResponse } from 'node:http';

/** An error in the form of OpenAI's API, which its clients parse. */
export interface OpenaiError {
  readonly status: number;
  readonly message: string;
  /** Kind of the error, by which clients choose a class: `invalid_request_error`, `authentication_error`, `server_error`. */
  readonly type: string;
  /** Name of the error for programs: `model_not_found`. */
  readonly code: string | null;
  /** Parameter of the request that is wrong. */
  readonly param?: string | null;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Creates the error for a request that is wrong. */
export function createRequestError(
  message: string,
  { status = 400, code = null, param = null }: Partial<OpenaiError> = {},
): OpenaiError {
  return { status, message, type: 'invalid_request_error', code, param };
}

/** Serializes the body of an error response, which is also the data of an error event. */
export function serializeOpenaiError({ message, type, code, param = null }: OpenaiError): string {
  return JSON.stringify({ error: { message, type, param, code } });
}

/** Sends an error response. */
export function sendOpenaiError(response: ServerResponse, error: OpenaiError): void {
  const body = Buffer.from(serializeOpenaiError(error));
  response.writeHead(error.status, {
    'content-type': 'application/json',
    'content-length': String(body.length),
    ...error.headers,
  });
  response.end(body);
}
