import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A request that an engine has received. */
export interface ReceivedRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** An HTTP server in place of an engine. */
export interface HttpEngine {
  /** Base URL: `http://127.0.0.1:8000/v1`. */
  readonly url: string;
  readonly origin: string;
  readonly requests: ReceivedRequest[];
  close(): void;
}

/** Starts an engine that responds as a test says. */
export async function startHttpEngine(
  respond: (request: ReceivedRequest, response: ServerResponse, raw: IncomingMessage) => unknown,
): Promise<HttpEngine> {
  const requests: ReceivedRequest[] = [];
  const server = createServer((request, response) => {
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => {
      const { method = '', url = '', headers } = request;
      const received = { method, url, headers, body: Buffer.concat(pieces).toString() };
      requests.push(received);
      respond(received, response, request);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url: `${origin}/v1`,
    origin,
    requests,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** The error in a response of OpenAI's API. */
export interface OpenaiErrorBody {
  readonly message: string;
  readonly type: string;
  readonly code: string | null;
  readonly param?: string | null;
}

/** Reads the error of a response. */
export async function readError(response: Response): Promise<OpenaiErrorBody> {
  const { error } = (await response.json()) as { readonly error: OpenaiErrorBody };
  return error;
}

/** Sends a JSON response. */
export function sendJson(
  response: ServerResponse,
  value: unknown,
  status = 200,
  headers: Record<string, string> = {},
): void {
  const body = JSON.stringify(value);
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
    ...headers,
  });
  response.end(body);
}
