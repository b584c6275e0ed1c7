import { ApiClient, type ServerAccess } from '../client/api-client.js';
import type { FailedAttempt } from '../client/attempts.js';
import { InferenceClient } from '../client/client.js';
import { type CapabilityQuery, pairEntries } from '../core/capability.js';
import { DEFAULTS } from '../core/defaults.js';
import { AnyserveError } from '../core/errors.js';
import * as system from '../system.js';
import { CALL_OPTIONS, callAccessFrom } from './call-options.js';
import type { Arguments, CommandIo, CommandOption } from './command.js';
import { countReplicas, mayPass, noMatchAmong } from './no-match.js';
import { coloursFor, printable } from './output.js';
import { SERVER_OPTIONS, serverAccessFrom } from './server-options.js';
import { clientTlsFrom, clientTlsOptions } from './tls-options.js';
import { durationMs, queryFromCaps, wholeNumber } from './values.js';

/** The options of the commands that call a model: where to look for it, and how long it may take. */
export const MODEL_CLIENT_OPTIONS: Readonly<Record<string, CommandOption>> = {
  cap: {
    type: 'text',
    value: 'CAP',
    description: 'what to ask for in place of the name: KEY=VALUE pairs',
    repeatable: true,
  },
  ...SERVER_OPTIONS,
  ...clientTlsOptions('behind https and at the replica'),
  ...CALL_OPTIONS,
  endpoint: { type: 'text', value: 'HOST:PORT', description: 'call this replica, and ask no API server' },
  'model-version': {
    type: 'text',
    value: 'VERSION',
    description: "the model's version; the replica chooses when not given",
  },
  timeout: {
    type: 'text',
    value: 'TIME',
    description: 'how long a call may take, all tries together',
    default: `${DEFAULTS.callTimeoutMs / 1000}s`,
  },
  'max-message-bytes': {
    type: 'text',
    value: 'N',
    description: 'the largest message taken or sent',
    default: String(DEFAULTS.maxMessageBytes),
  },
};

/** A model as it is looked for: behind the endpoint given, by the capability given, else by type and then by model. */
export class ModelClient {
  readonly #queries: readonly CapabilityQuery[];
  readonly #clients: readonly InferenceClient[];
  readonly #servers: readonly string[];
  readonly #access: ServerAccess;
  readonly #timeoutMs: number;
  readonly #io: CommandIo;

  /** Throws `usage`. */
  constructor(model: string, args: Arguments, io: CommandIo) {
    this.#io = io;
    this.#servers = args.texts('server');
    this.#timeoutMs = durationMs('timeout', args.text('timeout') ?? '');
    const endpoint = args.text('endpoint');
    // Whoever is called without asking anyone needs no token to ask.
    this.#access = endpoint === undefined ? serverAccessFrom(args, io) : { tls: clientTlsFrom(args, io) };
    const options = {
      ...callAccessFrom(args, io, this.#access.tls),
      token: this.#access.token,
      timeoutMs: this.#timeoutMs,
      maxMessageBytes: wholeNumber('max-message-bytes', args.text('max-message-bytes') ?? '', 1024, 2 ** 31 - 1),
      // All ways to look for the model are gone before it is waited for.
      waitWhileWarming: false,
      onRetry: (attempt: FailedAttempt) => tellRetry(attempt, io),
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

  /** Makes a call with the client of each way to look for the model, until one finds a replica. */
  async call<T>(make: (client: InferenceClient) => Promise<T>): Promise<T> {
    const giveUpAtMs = system.clock.nowMs() + this.#timeoutMs;
    const api = new ApiClient(this.#servers, this.#access);
    let isTold = false;
    try {
      for (;;) {
        for (const client of this.#clients) {
          try {
            return await make(client);
          } catch (error) {
            if (!(error instanceof AnyserveError) || error.code !== 'no_match') throw error;
          }
        }
        const patience = { giveUpAtMs, signal: this.#io.interrupted };
        if (await mayPass(this.#queries, api, patience)) {
          if (!isTold) tellWaiting(this.#io);
          isTold = true;
          continue;
        }
        throw noMatchAmong(this.#queries, await countReplicas(api, this.#io.interrupted));
      }
    } finally {
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

function tellRetry({ replicaId, error }: FailedAttempt, { stderr, env }: CommandIo): void {
  const line = `replica ${JSON.stringify(replicaId)} failed (${error.message}); trying another`;
  stderr.write(`${coloursFor(stderr, env).yellow(printable(line))}\n`);
}
