import type { ClientHttp2Session, ClientHttp2Stream, IncomingHttpHeaders } from 'node:http2';
import type { ClientGrpcMethod } from '../inference/service-definition.js';

/** Result of a gRPC call over a bare HTTP/2 session. */
export interface GrpcResult<Response> {
  /** The gRPC status number; undefined if the response has none, and so isn't a gRPC response. */
  readonly status: number | undefined;
  /** The server's status text, for a status other than 0. */
  readonly details: string | undefined;
  /** The response message, for status 0. */
  readonly response: Response | undefined;
}

/** Maximum number of bytes read of a response. */
const MAX_RESPONSE_BYTES = 64 * 1024;

/** Size of the prefix of each gRPC message: the compression flag and the message length. */
const PREFIX_BYTES = 5;

/**
 * Makes a unary call with a small request and response. Rejects if the connection closes before the response. The gRPC
 * library isn't used here because it can't tie a connection to one call: its connection can outlive a server that hangs.
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
  stream.end(frameMessage(method.requestSerialize(request)));
  const { headers, body } = await readResponse(stream);
  if (headers['grpc-status'] === undefined) return { status: undefined, details: undefined, response: undefined };
  const status = Number(headers['grpc-status']);
  const response = status === 0 ? method.responseDeserialize(unframeMessage(body)) : undefined;
  return { status, details: decodeStatusText(headers['grpc-message']?.toString()), response };
}

/** Reads a response to its end. Returns its headers and trailers in one object, and its body. */
function readResponse(stream: ClientHttp2Stream): Promise<{ headers: IncomingHttpHeaders; body: Buffer }> {
  return new Promise((resolve, reject) => {
    let headers: IncomingHttpHeaders | undefined;
    const chunks: Buffer[] = [];
    let bytes = 0;
    const addHeaders = (added: IncomingHttpHeaders): void => {
      headers = { ...headers, ...added };
    };
    stream.on('response', addHeaders).on('trailers', addHeaders);
    stream.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > MAX_RESPONSE_BYTES) stream.destroy(new Error(`the response has over ${MAX_RESPONSE_BYTES} bytes`));
    });
    stream.once('error', reject);
    stream.once('close', () => {
      if (headers) resolve({ headers, body: Buffer.concat(chunks) });
      else reject(new Error('the connection was closed without a response'));
    });
  });
}

function frameMessage(message: Uint8Array): Buffer {
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

function unframeMessage(body: Buffer): Buffer {
  return body.subarray(PREFIX_BYTES);
}

/** Decodes a percent-encoded status message. Returns one with an invalid encoding unchanged. */
function decodeStatusText(text: string | undefined): string | undefined {
  try {
    return text && decodeURIComponent(text);
  } catch {
    return text;
  }
}
