import type { SerializedReplica } from '../../src/api/serialized-replica.js';
import type { RegistrationStore } from '../../src/core/ports.js';
import type { DeclaredState } from '../../src/core/replica.js';
import { TokenSet } from '../../src/credentials/token-set.js';
import { formatRegisterRequest, openRawConnection, startTestApiServer, type TestApiServer } from './api-server.js';
import { until } from './until.js';

/** The body of a registration. */
export interface SentReplica {
  readonly id: string;
  readonly endpoint?: string;
  readonly capabilities: readonly object[];
  readonly state?: DeclaredState;
  readonly load?: object;
}

/** The response to a registration. The connection stays open if the lease was granted. */
export interface SentRegistration {
  readonly status: number;
  /** The status line, the headers and the first events. */
  readonly text: string;
  readonly lease: string;
  close(): void;
}

/** An API server, and requests to it with the tokens of teams. */
export class TeamServer {
  readonly server: TestApiServer;
  readonly #connections: SentRegistration[] = [];

  private constructor(server: TestApiServer) {
    this.server = server;
  }

  /** Starts a server that accepts these lines of token files. Without any, it requires no token. Default: a store in memory. */
  static async start({
    register,
    read,
    store,
  }: {
    readonly register?: readonly string[];
    readonly read?: readonly string[];
    readonly store?: RegistrationStore<SerializedReplica>;
  } = {}) {
    const toGetter = (lines: readonly string[] | undefined) => {
      const tokens = lines && new TokenSet(lines);
      return tokens && (() => tokens);
    };
    const tokens = { register: toGetter(register), read: toGetter(read) };
    return new TeamServer(await startTestApiServer({ tokens, random: { fraction: () => 0 }, ...(store && { store }) }));
  }

  /** Registers a replica, and resolves when the server has responded. */
  async register({ id, ...rest }: SentReplica, token = ''): Promise<SentRegistration> {
    const body = JSON.stringify({ replica_id: id, endpoint: `${id}.test:1`, ttl: 60, ...rest });
    const authorization = token === '' ? '' : `Authorization: Bearer ${token}\r\n`;
    const request = formatRegisterRequest(body).replace('\r\n\r\n', `\r\n${authorization}\r\n`);
    const { socket, received } = openRawConnection(this.server.port, request);
    await until('the server has responded', () => /alive|\}$/.test(received()));
    const text = received();
    const lease = /^x-anyserve-lease: (\S+)\r$/im.exec(text)?.[1] ?? '';
    const registration = { status: Number(text.split(' ')[1]), text, lease, close: () => void socket.destroy() };
    this.#connections.push(registration);
    return registration;
  }

  /** Sends a request, and resolves with the response. The body of a stream ends with the event `synced` of a watch, or with the first events. */
  async send(
    method: string,
    path: string,
    token = '',
    { headers = {}, body }: { headers?: object; body?: unknown } = {},
  ) {
    const response = await fetch(`${this.server.url}${path}`, {
      method,
      headers: { ...headers, ...(token !== '' && { authorization: `Bearer ${token}` }) },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const isStream = response.headers.get('content-type') === 'text/event-stream';
    const text = isStream
      ? await readUntil((read) => !path.startsWith('/watch') || read.includes('event: synced'), response)
      : await response.text();
    return { status: response.status, text, headers: response.headers };
  }

  async close(): Promise<void> {
    for (const connection of this.#connections) connection.close();
    await this.server.close();
  }
}

/** Reads the body of a stream until it is complete. */
async function readUntil(isComplete: (text: string) => boolean, { body }: Response): Promise<string> {
  let text = '';
  for await (const part of body as ReadableStream<Uint8Array>) {
    text += Buffer.from(part).toString();
    if (isComplete(text)) break;
  }
  return text;
}
