import type { IncomingMessage, ServerResponse } from 'node:http';
import { createRequestError, type OpenaiError } from '../client/http-calls/openai-error.js';
import { AnyserveError } from '../core/errors.js';
import { quote } from '../core/quoting.js';
import { HostCheck, type HostCheckOptions, isCrossOrigin } from '../http/host-check.js';

/** Options of {@link WebPages}. */
export interface WebPagesOptions extends HostCheckOptions {
  /** Origin of web pages that can call the gateway; `*` for all. Undefined: none. */
  readonly corsOrigin?: string | undefined;
  /** Whether callers need a key, which a web page can't guess. */
  readonly needsKey: boolean;
}

/**
 * Decides which web pages can call the gateway. Without keys, any page that a person on this network opens could: a browser sends a
 * request with a body of plain text to every address without asking, and the engine would do the work.
 */
export class WebPages {
  readonly #options: WebPagesOptions;
  readonly #hosts: HostCheck;

  /** Throws `usage` for an invalid origin or allowed host. */
  constructor(options: WebPagesOptions) {
    const { corsOrigin = '*' } = options;
    if (!isOrigin(corsOrigin)) {
      const advice = 'give an origin as a browser sends it, such as https://chat.example.com, or * for all';
      throw new AnyserveError('usage', `--cors ${quote(corsOrigin)}: ${advice}`);
    }
    this.#options = options;
    this.#hosts = new HostCheck(options);
  }

  /** Returns the error for a request of a page that can't call the gateway. */
  findProblem(request: IncomingMessage): OpenaiError | undefined {
    const { corsOrigin, needsKey } = this.#options;
    const isAllowed = this.#isAllowed(request.headers.origin);
    if (!needsKey && !isAllowed && isCrossOrigin(request))
      return createRequestError('web pages of other origins can not call this gateway; see --cors', { status: 403 });
    // With `--cors '*'`, pages of every name are meant to call.
    const problem = this.#hosts.findProblem(request, !needsKey && corsOrigin !== '*' && !isAllowed);
    return problem && createRequestError(problem.detail, { status: problem.status });
  }

  /** Adds the headers that let a page of the allowed origin read the response. Returns whether it has responded. */
  respond(request: IncomingMessage, response: ServerResponse): boolean {
    const { corsOrigin } = this.#options;
    if (corsOrigin === undefined || request.headers.origin === undefined) return false;
    response.setHeader('access-control-allow-origin', corsOrigin);
    response.setHeader('access-control-expose-headers', '*');
    if (request.method !== 'OPTIONS') return false;
    response.writeHead(204, {
      'access-control-allow-methods': 'GET, POST',
      'access-control-allow-headers':
        request.headers['access-control-request-headers'] ?? 'authorization, content-type',
      'access-control-max-age': '600',
    });
    response.end();
    return true;
  }

  #isAllowed(origin: string | undefined): boolean {
    const { corsOrigin } = this.#options;
    return origin !== undefined && (corsOrigin === '*' || corsOrigin === origin);
  }
}

/**
 * Returns whether a browser can send this origin. It has no path and no default port. `*` is accepted too, and `null`, the origin of
 * local files.
 */
function isOrigin(text: string): boolean {
  if (text === '*' || text === 'null') return true;
  if (/^https?:/.test(text)) return URL.canParse(text) && new URL(text).origin === text;
  // Apps and extensions have other schemes, such as app://localhost.
  return /^[a-z][a-z\d+.-]*:\/\/[^\s/]+$/.test(text);
}
