import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';
import { OPEN_REGISTRATION, REGISTRATION_HEADER, TOKEN_HEADER, type TokenUse } from '../../api/registration.js';
import { getErrorMessage } from '../../core/errors.js';
import { isLoopback } from '../../core/host.js';
import type { Clock } from '../../core/ports.js';
import { HttpConnections, type HttpResponse } from '../../http/http-client.js';
import { parsePlainJson } from '../../json/plain-json.js';
import type { ApiClient } from '../api-client.js';
import { toUnreachableError } from '../api-failure.js';
import { API_RESPONSE_TIMEOUT_MS, type ServerAccess } from '../api-servers.js';
import type { ServerAddress } from '../server-list.js';
import type { CheckResult } from './machine-checks.js';

/** Difference between two clocks from which times in lists and logs mislead, in ms. A `Date` header has whole seconds. */
const MAX_CLOCK_DIFFERENCE_MS = 2000;

/** Time before the end of a certificate from which it is reported, in ms. */
const CERTIFICATE_WARNING_MS = 14 * 24 * 60 * 60 * 1000;

/** Maximum size of the response of `/readyz`. */
const MAX_READINESS_BYTES = 64 * 1024;

/** Results of the check of a token, by the value of the response header. Everyone can read at some servers, also with a wrong token. */
const TOKEN_RESULTS: ReadonlyMap<unknown, Pick<CheckResult, 'status' | 'detail'>> = new Map([
  ['register', { status: 'ok', detail: 'can register replicas' }],
  ['read', { status: 'ok', detail: 'can read, but not register replicas' }],
  ['unknown', { status: 'failed', detail: 'the server does not know this token' }],
] satisfies [TokenUse, Pick<CheckResult, 'status' | 'detail'>][]);

/** Client, TLS settings and clock for the checks of an API server. */
export interface ServerCheckOptions {
  readonly api: ApiClient;
  readonly tls: ServerAccess['tls'];
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** Checks one API server, and yields each result. A server that can't be reached yields one result. */
export async function* checkServer(server: ServerAddress, options: ServerCheckOptions): AsyncGenerator<CheckResult> {
  const { clock, signal, api } = options;
  const target = server.name;
  const connections = new HttpConnections(options.tls);
  try {
    const startedAtMs = clock.nowMs();
    const token = api.getToken(server);
    const response = await getPath(connections, server, '/health', signal, token);
    const tookMs = Math.round(clock.nowMs() - startedAtMs);
    yield { check: 'connection', target, status: 'ok', detail: `responds in ${tookMs} ms` };
    const certificate = checkCertificate(response, clock);
    response.body.destroy();
    if (certificate) yield { ...certificate, target };
    yield { ...checkClock(response.headers, clock), target };
    yield { ...(await checkReadiness(connections, server, signal)), target };
    const list = await checkList(api, server, signal);
    yield { ...list, target };
    const tokenResult = TOKEN_RESULTS.get(response.headers[TOKEN_HEADER]);
    if (list.status === 'ok' && tokenResult) yield { check: 'token', target, ...tokenResult };
    if (list.status === 'ok' && isOpen(response.headers, server)) {
      const detail =
        'anyone who reaches it can register replicas, and receives calls; see "serve --register-token-file"';
      yield { check: 'security', target, status: 'warning', detail };
    }
  } catch (error) {
    signal.throwIfAborted();
    const { message } = toUnreachableError(server, error);
    const detail = message.replace(`cannot reach the API server ${target}: `, '');
    yield { check: 'connection', target, status: 'failed', detail };
  } finally {
    connections.close();
  }
}

function getPath(
  connections: HttpConnections,
  { url, address }: ServerAddress,
  path: string,
  signal: AbortSignal,
  token?: string,
): Promise<HttpResponse> {
  return connections.send({
    method: 'GET',
    url: `${url}${path}`,
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
    address,
    headTimeoutMs: API_RESPONSE_TIMEOUT_MS,
    signal,
  });
}

/** Checks how long the certificate of the connection is valid. Returns undefined for a connection without TLS. */
function checkCertificate({ body }: HttpResponse, clock: Clock): CheckResult | undefined {
  const socket = (body as IncomingMessage).socket as Partial<TLSSocket>;
  const { valid_to } = socket.getPeerCertificate?.() ?? {};
  if (valid_to === undefined) return undefined;
  // biome-ignore lint/style/noRestrictedGlobals: a conversion, which doesn't read the time
  const leftMs = Date.parse(valid_to) - clock.epochMs();
  const detail = `valid until ${valid_to}`;
  if (leftMs > CERTIFICATE_WARNING_MS) return { check: 'certificate', status: 'ok', detail };
  return { check: 'certificate', status: 'warning', detail: `${detail}; renew it` };
}

/** Compares the clocks of both machines by the time of a response. */
function checkClock({ date }: IncomingHttpHeaders, clock: Clock): CheckResult {
  // biome-ignore lint/style/noRestrictedGlobals: a conversion, which doesn't read the time
  const serverMs = Date.parse(date ?? '');
  if (Number.isNaN(serverMs)) return { check: 'clock', status: 'ok', detail: 'the server does not say its time' };
  const differenceMs = serverMs - clock.epochMs();
  if (Math.abs(differenceMs) <= MAX_CLOCK_DIFFERENCE_MS) {
    return { check: 'clock', status: 'ok', detail: `differs by at most ${MAX_CLOCK_DIFFERENCE_MS / 1000} s` };
  }
  const seconds = Math.round(Math.abs(differenceMs) / 1000);
  const direction = differenceMs > 0 ? 'ahead of' : 'behind';
  const detail = `its clock is ${seconds} s ${direction} this machine's; synchronize both, for example with chrony`;
  return { check: 'clock', status: 'warning', detail };
}

/** Checks `/readyz`. The Python server doesn't have it. */
async function checkReadiness(
  connections: HttpConnections,
  server: ServerAddress,
  signal: AbortSignal,
): Promise<CheckResult> {
  const response = await getPath(connections, server, '/readyz', signal);
  const text = await connections.readPrefix(response, API_RESPONSE_TIMEOUT_MS, MAX_READINESS_BYTES);
  if (response.status === 404) return { check: 'readiness', status: 'ok', detail: 'the server does not report it' };
  const { status = 'unknown', reasons = [] } = (parsePlainJson(text) ?? {}) as { status?: string; reasons?: string[] };
  const detail = [status, ...reasons].join('; ');
  if (response.status !== 200) return { check: 'readiness', status: 'failed', detail };
  return { check: 'readiness', status: status === 'ready' ? 'ok' : 'warning', detail };
}

/** Checks whether the list of replicas can be read with the token. */
async function checkList(api: ApiClient, server: ServerAddress, signal: AbortSignal): Promise<CheckResult> {
  try {
    const { replicas } = await api.listReplicas({ server, signal });
    const detail = replicas.length === 1 ? 'lists 1 replica' : `lists ${replicas.length} replicas`;
    return { check: 'access', status: 'ok', detail };
  } catch (error) {
    signal.throwIfAborted();
    return { check: 'access', status: 'failed', detail: getErrorMessage(error) };
  }
}

/** Returns whether everyone on the network can register replicas. */
function isOpen(headers: IncomingHttpHeaders, { url }: ServerAddress): boolean {
  return headers[REGISTRATION_HEADER] === OPEN_REGISTRATION && !isLoopback(new URL(url).hostname);
}
