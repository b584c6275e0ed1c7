import type { ClientHttp2Session, ClientHttp2Stream, IncomingHttpHeaders } from 'node:http2';
import type { ClientGrpcMethod } from '../inference/service-definition.js';

/** How a gRPC call over a bare HTTP/2 session ended. */
export interface GrpcResult<Response> {
  /** The gRPC status number; undefined when the answer carries none, and so is not one of gRPC. */
  readonly status: number | undefined;
  /** What the server says of a status other than 0. */
  readonly details: string | undefined;
  /** The message of a status 0. */
  readonly response: Response | undefined;
}

/** The most that is read of an answer. */
const MAX_ANSWER_BYTES = 64 * 1024;

/** The length of what stands before each message: whether it is compressed, and its length. */
const PREFIX_BYTES = 5;

/**
 * Calls a method with one message each way, for small ones. Rejects when the connection ends before the answer. Where a
 * connection must end with the call, and not outlive a server that hangs, the gRPC library does not help.
 */
export async function callGrpc<Request, Response>(
  session: ClientHttp2Session,
  method: ClientGrpcMethod<Request, Response>,
  request: Request,
): Promise<GrpcResult<Response>> {
  const stream = session.request({
    ':method': 'POST',
    ':path': method.path,
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  stream.end(framed(method.requestSerialize(request)));
  const { headers, body } = await readAnswer(stream);
  if (headers['grpc-status'] === undefined) return { status: undefined, details: undefined, response: undefined };
  const status = Number(headers['grpc-status']);
  const response = status === 0 ? method.responseDeserialize(unframed(body)) : undefined;
  return { status, details: percentDecoded(headers['grpc-message']?.toString()), response };
}

/** An answer's headers and trailers together, and its body. */
function readAnswer(stream: ClientHttp2Stream): Promise<{ headers: IncomingHttpHeaders; body: Buffer }> {
  return new Promise((resolve, reject) => {
    let headers: IncomingHttpHeaders | undefined;
    const chunks: Buffer[] = [];
    let bytes = 0;
    const take = (more: IncomingHttpHeaders): void => {
      headers = { ...headers, ...more };
    };
    stream.on('response', take).on('trailers', take);
    stream.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > MAX_ANSWER_BYTES) stream.destroy(new Error(`an answer of over ${MAX_ANSWER_BYTES} bytes`));
    });
    stream.once('error', reject);
    stream.once('close', () => {
      if (headers) resolve({ headers, body: Buffer.concat(chunks) });
      else reject(new Error('the connection was closed without an answer'));
    });
  });
}

function framed(message: Uint8Array): Buffer {
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

function unframed(body: Buffer): Buffer {
  return body.subarray(PREFIX_BYTES);
}

/** A status message as its sender wrote it; one that is not encoded as it should be stands for itself. */
function percentDecoded(text: string | undefined): string | undefined {
  try {
    return text && decodeURIComponent(text);
  } catch {
    return text;
  }
}
