import { ApiClient } from '../client/api-client.js';
import type { ServerAccess } from '../client/api-servers.js';
import { InferenceClient } from '../client/client.js';
import type { DiscoveryKind, FailedAttempt } from '../client/client-options.js';
import { type CapabilityQuery, listPairs } from '../core/capability.js';
import { escapeControls } from '../core/control-characters.js';
import { DEFAULTS } from '../core/defaults.js';
import { AnyserveError } from '../core/errors.js';
import * as system from '../system.js';
import { parseCapQuery, parseDurationMs, parseWholeNumber } from './argument-parsers.js';
import { readCallAccess } from './call-options.js';
import type { Arguments, CommandIo } from './command.js';
import { silenceGrpcLog } from './grpc-log.js';
import { explainNoMatch, waitIfWarming } from './no-match.js';
import { createColors } from './output.js';
import { readServerAccess } from './server-options.js';
import { type Spinner, startSpinner } from './spinner.js';
import { readClientTls } from './tls-options.js';

/** Client for a model at a given endpoint, with a given capability, or with type=NAME, else model=NAME. */
export class ModelClient {
  /** Maximum size of a message, and of all messages of a collected response, in bytes. */
  readonly maxMessageBytes: number;
  readonly #queries: readonly CapabilityQuery[];
  readonly #clients: readonly InferenceClient[];
  readonly #servers: readonly string[];
  readonly #access: ServerAccess;
  readonly #timeoutMs: number | undefined;
  readonly #model: string;
  readonly #json: boolean;
  readonly #io: CommandIo;
  /** Spinner of the call in progress. */
  #spinner: Spinner | undefined;

  /** `discoveryKind`: a command that makes one call asks for a route, one that makes several keeps a table. Throws `usage`. */
  constructor(model: string, args: Arguments, io: CommandIo, discoveryKind: DiscoveryKind) {
    silenceGrpcLog(io);
    this.#io = io;
    this.#model = model;
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
    // Without discovery, the token for the API server isn't needed.
    this.#access = endpoint === undefined ? readServerAccess(args, io) : { tls: readClientTls(args, io) };
    const options = {
      ...readCallAccess(args, io, this.#access.tls),
      token: this.#access.token,
      timeoutMs: this.#timeoutMs,
      firstMessageTimeoutMs: parseDurationMs('first-message-timeout', args.getText('first-message-timeout') ?? '', 0),
      streamIdleTimeoutMs: parseDurationMs('stream-idle-timeout', args.getText('stream-idle-timeout') ?? '', 0),
      maxMessageBytes: this.maxMessageBytes,
      // This class waits itself, after it has tried all queries.
      waitWhileWarming: false,
      onRetry: (attempt: FailedAttempt) => {
        this.#spinner?.clear();
        reportRetry(attempt, io);
      },
    };
    const caps = args.getTexts('cap');
    const byName: CapabilityQuery[] = [
      ['type', model],
      ['model', model],
    ];
    this.#queries = caps.length > 0 ? [parseCapQuery(caps)] : byName;
    this.#clients =
      endpoint !== undefined
        ? [new InferenceClient({ ...options, endpoint }, system)]
        : this.#queries.map((query) => {
            const capability = Object.fromEntries(listPairs(query));
            return new InferenceClient({ ...options, server: this.#servers, capability }, system, discoveryKind);
          });
  }

  /**
   * Makes a call with the client of each query until one finds a replica. At a terminal, shows a spinner meanwhile. `make`
   * must call `stopSpinner` before it prints anything.
   */
  async call<T>(make: (client: InferenceClient, stopSpinner: () => void) => Promise<T>): Promise<T> {
    const giveUpAtMs = system.clock.nowMs() + (this.#timeoutMs ?? DEFAULTS.callTimeoutMs);
    const api = new ApiClient({ ...this.#access, servers: this.#servers, clock: system.clock });
    const spinner = this.#json ? undefined : startSpinner(`waiting for ${this.#model}`, this.#io);
    this.#spinner = spinner;
    const stopSpinner = (): void => spinner?.stop();
    let isWaitReported = false;
    try {
      for (;;) {
        for (const client of this.#clients) {
          try {
            return await make(client, stopSpinner);
          } catch (error) {
            if (!(error instanceof AnyserveError) || error.code !== 'no_match') throw error;
          }
        }
        const retryOptions = { giveUpAtMs, signal: this.#io.interrupted };
        if (await waitIfWarming(this.#queries, api, retryOptions)) {
          spinner?.clear();
          if (!isWaitReported) reportWait(this.#io);
          isWaitReported = true;
          continue;
        }
        throw await explainNoMatch(this.#queries, api, this.#io.interrupted);
      }
    } finally {
      stopSpinner();
      api.close();
    }
  }

  /** Cancels every call and closes every connection. */
  async close(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.close()));
  }
}

function reportWait({ stderr, env }: CommandIo): void {
  const line = 'the API server has just started; waiting for replicas to register again';
  stderr.write(`${createColors(stderr, env).dim(line)}\n`);
}

function reportRetry({ replicaId, error, next }: FailedAttempt, { stderr, env }: CommandIo): void {
  const isSame = next.replicaId === replicaId;
  const nextStep = isSame
    ? 'no other replica matches; retrying the same one'
    : `retrying on ${JSON.stringify(next.replicaId)}`;
  const line = `replica ${JSON.stringify(replicaId)} failed (${error.message}); ${nextStep}`;
  stderr.write(`${createColors(stderr, env).yellow(escapeControls(line))}\n`);
}
