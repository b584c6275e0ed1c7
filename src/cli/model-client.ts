import { ApiClient } from '../client/api-client.js';
import type { ServerAccess } from '../client/api-servers.js';
import { InferenceClient } from '../client/client.js';
import type { DiscoveryKind, FailedAttempt, PickerName } from '../client/client-options.js';
import type { RouteSelection } from '../client/route-selection.js';
import { type CapabilityQuery, formatQuery, listPairs } from '../core/capability.js';
import { escapeControls } from '../core/control-characters.js';
import { DEFAULTS } from '../core/defaults.js';
import { formatDuration } from '../core/durations.js';
import type { AnyserveError } from '../core/errors.js';
import type { Tracer } from '../core/ports.js';
import * as system from '../system.js';
import { parseCapQuery, parseDurationMs, parseWholeNumber } from './argument-parsers.js';
import { readCallAccess } from './call-options.js';
import type { Arguments, CommandIo } from './command.js';
import { silenceGrpcLog } from './grpc-log.js';
import { canFindLater, MatchWait } from './match-wait.js';
import { explainNoMatch, waitIfWarming } from './no-match.js';
import { createColors } from './output.js';
import { readSelection, readSelectorTexts } from './selector-options.js';
import { readServerAccess } from './server-options.js';
import { type Spinner, startSpinner } from './spinner.js';
import { readClientTls } from './tls-options.js';

/** Options of a `ModelClient` that aren't arguments of every command. */
export interface ModelClientOptions {
  /** A command that makes one call asks for a route, one that makes several keeps a table. */
  readonly discoveryKind: DiscoveryKind;
  /** How the replica of each call is picked. Default: that of the client. */
  readonly pick?: PickerName | undefined;
  /** Time for which a call without a match waits for one, in ms. Undefined: only while the API server has just started. */
  readonly waitMs?: number | undefined;
  /** Traces the calls. Default: none. */
  readonly tracer?: Tracer | undefined;
}

/** Client for a model at a given endpoint, with a given capability, or with type=NAME, else model=NAME. */
export class ModelClient {
  /** Maximum size of a message, and of all messages of a collected response, in bytes. */
  readonly maxMessageBytes: number;
  readonly #queries: readonly CapabilityQuery[];
  readonly #clients: readonly InferenceClient[];
  readonly #servers: readonly string[];
  readonly #access: ServerAccess;
  readonly #timeoutMs: number | undefined;
  readonly #waitMs: number | undefined;
  readonly #model: string;
  readonly #json: boolean;
  readonly #io: CommandIo;
  readonly #selection: RouteSelection;
  /** Spinner of the call in progress. */
  #spinner: Spinner | undefined;

  /** Throws `usage`. */
  constructor(
    model: string,
    args: Arguments,
    io: CommandIo,
    { discoveryKind, pick, waitMs, tracer }: ModelClientOptions,
  ) {
    silenceGrpcLog(io);
    this.#io = io;
    this.#model = model;
    this.#waitMs = waitMs;
    this.#json = args.hasFlag('json');
    this.#servers = args.getTexts('server');
    const timeout = args.getText('timeout');
    this.#timeoutMs = timeout === undefined ? undefined : parseDurationMs('timeout', timeout, 0);
    this.maxMessageBytes = parseWholeNumber(
      'max-message-bytes',
      args.getText('max-message-bytes') ?? '',
      1024,
      2 ** 31 - 1,
    );
    const endpoint = args.getText('endpoint');
    this.#selection = readSelection(args, 'grpc', endpoint);
    // Without discovery, the token for the API server isn't needed.
    this.#access = endpoint === undefined ? readServerAccess(args, io) : { tls: readClientTls(args, io) };
    const options = {
      ...readCallAccess(args, io, this.#access.tls),
      token: this.#access.token,
      timeoutMs: this.#timeoutMs,
      ...readStreamTimeouts(args),
      maxMessageBytes: this.maxMessageBytes,
      pick,
      tracer,
      // This class waits itself, after it has tried all queries.
      waitWhileWarming: false,
      onRetry: (attempt: FailedAttempt) => {
        this.#spinner?.clear();
        reportRetry(attempt, io);
      },
    };
    this.#queries = readQueries(model, args);
    this.#clients =
      endpoint !== undefined
        ? [new InferenceClient({ ...options, endpoint }, system)]
        : this.#queries.map((query) => {
            const capability = Object.fromEntries(listPairs(query));
            const target = { server: this.#servers, capability, ...readSelectorTexts(args) };
            return new InferenceClient({ ...options, ...target }, system, discoveryKind);
          });
  }

  /**
   * Makes a call with the client of each query until one finds a replica. At a terminal, shows a spinner meanwhile. `make`
   * must call `stopSpinner` before it prints anything.
   */
  async call<T>(make: (client: InferenceClient, stopSpinner: () => void) => Promise<T>): Promise<T> {
    const signal = this.#io.interrupted;
    const giveUpAtMs = system.clock.nowMs() + (this.#timeoutMs ?? DEFAULTS.callTimeoutMs);
    const wait = this.#waitMs === undefined ? undefined : new MatchWait(this.#waitMs, { ...system, signal });
    const api = new ApiClient({ ...this.#access, servers: this.#servers, clock: system.clock });
    const spinner = this.#json ? undefined : startSpinner(`waiting for ${this.#model}`, this.#io);
    this.#spinner = spinner;
    const stopSpinner = (): void => spinner?.stop();
    const reportWait = createWaitReporter(this.#io, spinner);
    try {
      for (;;) {
        const outcome = await this.#callFirst((client) => make(client, stopSpinner), wait !== undefined);
        if ('result' in outcome) return outcome.result;
        const { failure } = outcome;
        if (wait) reportWait(this.#describeWait(failure), this.#io.stderr.isTTY === true);
        const isAskedAgain = wait
          ? await wait.waitForNext(this.#clients.length)
          : await waitIfWarming(this.#queries, api, { giveUpAtMs, signal, selection: this.#selection });
        if (!isAskedAgain)
          throw failure.code === 'no_match'
            ? await explainNoMatch(this.#queries, api, signal, this.#selection)
            : failure;
        if (!wait) reportWait('the API server has just started; waiting for replicas to register again');
      }
    } finally {
      stopSpinner();
      api.close();
    }
  }

  /**
   * Makes a call with the first client that finds a replica. If none does, resolves to the last error, which can be that no API
   * server is reachable if `isWaiting`.
   */
  async #callFirst<T>(
    make: (client: InferenceClient) => Promise<T>,
    isWaiting: boolean,
  ): Promise<{ readonly result: T } | { readonly failure: AnyserveError }> {
    let failure: AnyserveError | undefined;
    for (const client of this.#clients) {
      try {
        return { result: await make(client) };
      } catch (error) {
        if (!canFindLater(error) || (!isWaiting && error.code !== 'no_match')) throw error;
        failure = error;
      }
    }
    return { failure: failure as AnyserveError };
  }

  #describeWait({ code, message }: AnyserveError): string {
    const queryText = this.#queries.map(formatQuery).join(' or ');
    const reason = code === 'no_match' ? `no replica offers ${queryText} yet` : message;
    return `${reason}; waiting up to ${formatDuration(this.#waitMs ?? 0)}`;
  }

  /** Cancels every call and closes every connection. */
  async close(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.close()));
  }
}

/** Returns the query of `--cap`, or else the queries for a type and for a model with this name. */
function readQueries(model: string, args: Arguments): readonly CapabilityQuery[] {
  const caps = args.getTexts('cap');
  return caps.length > 0
    ? [parseCapQuery(caps)]
    : [
        ['type', model],
        ['model', model],
      ];
}

function readStreamTimeouts(args: Arguments) {
  const read = (name: string): number => parseDurationMs(name, args.getText(name) ?? '', 0);
  return { firstMessageTimeoutMs: read('first-message-timeout'), streamIdleTimeoutMs: read('stream-idle-timeout') };
}

/** Creates a function that reports once what a call waits for. Returns without a report if `isShown` is false. */
function createWaitReporter({ stderr, env }: CommandIo, spinner: Spinner | undefined) {
  let isReported = false;
  return (line: string, isShown = true): void => {
    spinner?.clear();
    if (!isReported && isShown) stderr.write(`${createColors(stderr, env).dim(escapeControls(line))}\n`);
    isReported = true;
  };
}

function reportRetry({ replicaId, error, next }: FailedAttempt, { stderr, env }: CommandIo): void {
  const isSame = next.replicaId === replicaId;
  const nextStep = isSame
    ? 'no other replica matches; retrying the same one'
    : `retrying on ${JSON.stringify(next.replicaId)}`;
  const line = `replica ${JSON.stringify(replicaId)} failed (${error.message}); ${nextStep}`;
  stderr.write(`${createColors(stderr, env).yellow(escapeControls(line))}\n`);
}
