import type { IncomingMessage } from 'node:http';
import { quote } from '../core/quoting.js';

/** Why the head of a request is refused. */
export interface HeadProblem {
  readonly status: 400 | 417 | 501;
  readonly detail: string;
}

/**
 * Returns why a request with these transfer codings is refused. Node accepts all lists that end with `chunked`, and decodes only
 * that coding: a handler would take compressed bytes for the body (RFC 9112, section 6.1).
 */
export function findCodingProblem({ headers, httpVersion }: IncomingMessage): HeadProblem | undefined {
  const codings = headers['transfer-encoding'];
  if (codings === undefined) return undefined;
  if (httpVersion === '1.0')
    return { status: 400, detail: 'HTTP/1.0 has no Transfer-Encoding; send Content-Length, or use HTTP/1.1' };
  if (codings.toLowerCase() === 'chunked') return undefined;
  const detail = `the transfer coding ${quote(codings)} is not supported; send Transfer-Encoding: chunked, or Content-Length`;
  return { status: 501, detail };
}

/** Returns why the head of a request is refused: its host, its expectation, or its transfer codings. */
export function findHeadProblem(request: IncomingMessage): HeadProblem | undefined {
  const { headers, httpVersion } = request;
  // HTTP/1.0 has neither.
  if (httpVersion === '1.1') {
    if (headers.host === undefined)
      return { status: 400, detail: 'the request has no Host header; HTTP/1.1 needs one' };
    const { expect } = headers;
    if (expect !== undefined && expect.toLowerCase() !== '100-continue')
      return { status: 417, detail: `the expectation ${quote(expect)} is not supported; leave out the Expect header` };
  }
  return findCodingProblem(request);
}
