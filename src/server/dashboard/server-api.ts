import { SELECTOR_HEADER } from '../../api/selector-header.js';
import { listPairs } from '../../core/capability.js';
import type { CapabilityFilter } from '../../core/selector.js';
import { type ServerInfo, toServerInfo } from './server-info.js';

/** The API server refuses a request. */
export class RefusedError extends Error {
  override readonly name = 'RefusedError';
  readonly status: number;

  constructor(status: number, detail: string) {
    super(detail);
    this.status = status;
  }

  /** Whether the request had no token, or one that the server doesn't accept. */
  get needsToken(): boolean {
    return this.status === 401 || this.status === 403;
  }
}

/** The parts of `GET /explain` that the page shows. */
export interface ExplainedQuery {
  readonly message: string;
  readonly details: readonly string[];
}

/** A row of `GET /replicas`, with the members that change without an event. */
export interface SeenReplica {
  readonly replica_id: string;
  readonly last_seen: number | null;
}

/** Time limit of a request, in ms. */
const TIMEOUT_MS = 10_000;

type Fetch = (path: string, options: { headers: Record<string, string>; signal: AbortSignal }) => Promise<Response>;

/** Sends the page's requests, with the token. Its URLs are relative to the page, so a proxy can add a prefix. */
export class ServerApi {
  readonly #fetch: Fetch;
  readonly #getToken: () => string;

  /** `getToken` returns an empty text without a token. */
  constructor(getToken: () => string, send: Fetch) {
    this.#getToken = getToken;
    this.#fetch = send;
  }

  /** Sends a request. Throws {@link RefusedError} for an error response, and another error without a response. */
  async send(path: string, { headers, signal }: { headers?: Record<string, string>; signal: AbortSignal }) {
    const token = this.#getToken();
    const authorization = token === '' ? {} : { authorization: `Bearer ${token}` };
    const response = await this.#fetch(path, { headers: { ...headers, ...authorization }, signal });
    if (!response.ok) throw new RefusedError(response.status, await readDetail(response));
    return response;
  }

  async readServerInfo(): Promise<ServerInfo> {
    return toServerInfo(await this.#readJson('server'));
  }

  /** Returns these replicas. Those that have left are missing. */
  async readSeen(ids: readonly string[]): Promise<readonly SeenReplica[]> {
    const search = new URLSearchParams(ids.map((id): [string, string] => ['replica_id', id]));
    const body = (await this.#readJson(`../replicas?${search}`)) as { readonly replicas: readonly SeenReplica[] };
    return body.replicas;
  }

  /** Asks the server who would answer a query. */
  async explain({ query, selector }: CapabilityFilter): Promise<ExplainedQuery> {
    const search = new URLSearchParams(listPairs(query));
    const headers = selector.text === '' ? {} : { [SELECTOR_HEADER]: encodeURIComponent(selector.text) };
    return (await this.#readJson(`../explain?${search}`, headers)) as ExplainedQuery;
  }

  async #readJson(path: string, headers: Record<string, string> = {}): Promise<unknown> {
    const response = await this.send(path, { headers, signal: AbortSignal.timeout(TIMEOUT_MS) });
    return response.json();
  }
}

async function readDetail(response: Response): Promise<string> {
  const text = await response.text();
  try {
    const { detail } = JSON.parse(text) as { detail?: unknown };
    if (typeof detail === 'string') return detail;
  } catch {
    // A proxy can respond with a page.
  }
  return `the server responded with status ${response.status}`;
}
