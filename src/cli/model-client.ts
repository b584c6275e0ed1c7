import { ApiClient } from '../client/api-client.js';
import type { ServerAccess } from '../client/api-servers.js';
import { InferenceClient } from '../client/client.js';
import type { FailedAttempt } from '../client/client-options.js';
import { type CapabilityQuery, pairEntries } from '../core/capability.js';
import { DEFAULTS } from '../core/defaults.js';
import { AnyserveError } from '../core/errors.js';
import { printable } from '../core/printable.js';
import * as system from '../system.js';
import { callAccessFrom } from './call-options.js';
import type { Arguments, CommandIo } from './command.js';
import { quietGrpc } from './grpc-log.js';
import { listedReplicas, mayPass, noMatchAmong } from './no-match.js';
import { coloursFor } from './output.js';
import { serverAccessFrom } from './server-options.js';
import { type Spinner, startSpinner } from './spinner.js';
import { clientTlsFrom } from './tls-options.js';
import { durationMs, queryFromCaps, wholeNumber } from './values.js';

/** A model as it is looked for: behind the endpoint given, by the capability given, else by type and then by model. */
export class ModelClient {
  /** Maximum size of a message, and of all parts of an answer that is kept. */
  readonly maxMessageBytes: number;
  readonly #queries: readonly CapabilityQuery[];
  readonly #clients: readonly InferenceClient[];
  readonly #servers: readonly string[];
  readonly #access: ServerAccess;
  readonly #timeoutMs: number | undefined;
  readonly #model: string;
  readonly #json: boolean;
  readonly #io: CommandIo;
  /** What is shown while a call waits for its answer. */
  #spinner: Spinner | undefined;

  /** Throws `usage`. */
  constructor(model: string, args: Arguments, io: CommandIo) {
    quietGrpc(io);
    this.#io = io;
    this.#model = model;
    this.#json = args.flag('json');
    this.#servers = args.texts('server');
    const timeout = args.text('timeout');
    this.#timeoutMs = timeout === undefined ? undefined : durationMs('timeout', timeout, 0);
    this.maxMessageBytes = wholeNumber('max-message-bytes', args.text('max-message-bytes') ?? '', 1024, 2 ** 31 - 1);
    const endpoint = args.text('endpoint');
    // Whoever is called without asking anyone needs no token to ask.
    this.#access = endpoint === undefined ? serverAccessFrom(args, io) : { tls: clientTlsFrom(args, io) };
    const options = {
      ...callAccessFrom(args, io, this.#access.tls),
      token: this.#access.token,
      timeoutMs: this.#timeoutMs,
      firstPartTimeoutMs: durationMs('first-part-timeout', args.text('first-part-timeout') ?? '', 0),
      silenceTimeoutMs: durationMs('silence-timeout', args.text('silence-timeout') ?? '', 0),
      maxMessageBytes: this.maxMessageBytes,
      // All ways to look for the model are gone before it is waited for.
      waitWhileWarming: false,
      onRetry: (attempt: FailedAttempt) => {
        this.#spinner?.clear();
        tellRetry(attempt, io);
      },
    };
    const caps = args.texts('cap');
    const named: CapabilityQuery[] = [
      ['type', model],
      ['model', model],
    ];
    this.#queries = caps.length > 0 ? [queryFromCaps(caps)] : named;
    this.#clients =
      endpoint !== undefined
        ? [new InferenceClient({ ...options, endpoint }, system)]
        : this.#queries.map((query) => {
            const capability = Object.fromEntries(pairEntries(query));
            return new InferenceClient({ ...options, server: this.#servers, capability }, system);
          });
  }

  /**
   * Makes a call with the client of each way to look for the model, until one finds a replica. At a terminal a spinner shows
   * that it waits; the call removes it, with the function that it is given, before it prints anything.
   */
  async call<T>(make: (client: InferenceClient, stopSpinner: () => void) => Promise<T>): Promise<T> {
    const giveUpAtMs = system.clock.nowMs() + (this.#timeoutMs ?? DEFAULTS.callTimeoutMs);
    const api = new ApiClient(this.#servers, this.#access);
    const spinner = this.#json ? undefined : startSpinner(`waiting for ${this.#model}`, this.#io);
    this.#spinner = spinner;
    const stopSpinner = (): void => spinner?.stop();
    let isTold = false;
    try {
      for (;;) {
        for (const client of this.#clients) {
          try {
            return await make(client, stopSpinner);
          } catch (error) {
            if (!(error instanceof AnyserveError) || error.code !== 'no_match') throw error;
          }
        }
        const patience = { giveUpAtMs, signal: this.#io.interrupted };
        if (await mayPass(this.#queries, api, patience)) {
          spinner?.clear();
          if (!isTold) tellWaiting(this.#io);
          isTold = true;
          continue;
        }
        throw noMatchAmong(this.#queries, await listedReplicas(api, this.#io.interrupted));
      }
    } finally {
      stopSpinner();
      api.close();
    }
  }

  /** Ends every call and every connection. */
  async close(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.close()));
  }
}

function tellWaiting({ stderr, env }: CommandIo): void {
  const line = 'the API server has just started; waiting for replicas that may be on their way back';
  stderr.write(`${coloursFor(stderr, env).dim(line)}\n`);
}

function tellRetry({ replicaId, error, next }: FailedAttempt, { stderr, env }: CommandIo): void {
  const isSame = next.replicaId === replicaId;
  const what = isSame ? 'no other matches; trying it again' : `trying ${JSON.stringify(next.replicaId)}`;
  const line = `replica ${JSON.stringify(replicaId)} failed (${error.message}); ${what}`;
  stderr.write(`${coloursFor(stderr, env).yellow(printable(line))}\n`);
}
