import { ApiClient } from '../client/api-client.js';
import type { ServerAccess } from '../client/api-servers.js';
import { HealthWatch } from '../client/health-watch.js';
import { LeaseKeeper } from '../client/lease-keeper.js';
import { findListener } from '../client/tcp-listener.js';
import type { Capability } from '../core/capability.js';
import { escapeControls } from '../core/control-characters.js';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import type { Endpoint } from '../core/ids.js';
import type { Log, LogDetails } from '../core/ports.js';
import { clock, ids, random } from '../system.js';
import { VERSION } from '../version.js';
import { parseDurationMs } from './argument-parsers.js';
import { type Arguments, type CommandIo, waitForShutdown } from './command.js';
import { readEndpointRegistration, requireValue } from './endpoint-registration.js';
import { readEngineRegistration } from './engine-registration.js';
import { waitUntilIdle } from './idle-wait.js';
import { createLeaseReporter } from './lease-reporter.js';
import { createLog, LogLines } from './log-lines.js';
import { serveMetrics } from './metrics-options.js';
import { type ChangePrinter, createChangePrinter } from './output.js';
import { createProgramReporter, type ProgramChange } from './program-reporter.js';
import type { Registrable, ServerProbe } from './registrable.js';
import { readServerAccess, readWeight } from './server-options.js';
import { runSupervised } from './supervise.js';

/** Keeps a model server registered, and runs it if a program is given, until shutdown. Resolves to the exit code. */
export async function keepServerRegistered(args: Arguments, io: CommandIo): Promise<number> {
  const weight = readWeight(args);
  const program = readProgram(args);
  const access = readServerAccess(args, io);
  const engineUrl = args.getText('openai');
  const registrable =
    engineUrl === undefined
      ? await readEndpointRegistration(args, access.tls)
      : await readEngineRegistration(engineUrl, args, io);
  if (program) await assertEndpointIsFree(registrable.address);
  const served = await serveMetrics(args, async () => {
    const { RegistrationMetrics } = await import('../telemetry/worker-metrics.js');
    return new RegistrationMetrics(VERSION, registrable.getLoad);
  });
  const drainTimeoutMs = parseDurationMs('drain-timeout', args.getText('drain-timeout') ?? '');
  const server = new RegisteredServer(args, registrable, { access, weight, isRun: program !== undefined }, io);
  try {
    const exitCode = program
      ? await runSupervised({
          program,
          restart: args.hasFlag('restart'),
          drainTimeoutMs,
          onStart: () => server.watch(),
          onStop: async () => {
            await server.leave();
            if (server.stop.reason === 'SIGTERM')
              await waitUntilIdle(() => registrable.getLoad?.(), drainTimeoutMs, clock);
          },
          onChange: (change) => server.report(change),
          stop: server.stop,
          forceQuit: io.forceQuit,
          clock,
          random,
        })
      : await server.watchUntilStopped();
    await server.end();
    return exitCode;
  } finally {
    await served?.listener.close();
    await server.close();
  }
}

/** How a server is registered. */
interface RegistrationSettings {
  readonly access: ServerAccess;
  readonly weight: number;
  /** Whether this command runs the server. */
  readonly isRun: boolean;
}

/** A model server that is registered while it is healthy. */
class RegisteredServer {
  /** Aborted when the server must stop: on a signal, or when the registration is rejected. */
  readonly stop: AbortSignal;
  /** Prints a change of the server. */
  readonly report: (change: ProgramChange) => void;
  readonly #registrable: Registrable;
  readonly #probe: ServerProbe | undefined;
  readonly #api: ApiClient;
  readonly #keeper: LeaseKeeper;
  readonly #leaseEnded: Promise<void>;
  readonly #rejected = new AbortController();
  readonly #stdout: CommandIo['stdout'];
  readonly #json: boolean;
  readonly #log: Log;
  #isRegistered = false;
  #failure: unknown;

  constructor(
    args: Arguments,
    registrable: Registrable,
    { access, weight, isRun }: RegistrationSettings,
    io: CommandIo,
  ) {
    // With a program, stdout carries only the program's output.
    const reportIo = isRun ? { ...io, stdout: io.stderr } : io;
    this.#stdout = reportIo.stdout;
    const lines = new LogLines(io, args);
    const isLogged = isRun && lines.isJson;
    this.#json = args.hasFlag('json') || isLogged;
    const print = isLogged ? createChangeLog(io, lines) : createChangePrinter(this.#json, reportIo);
    this.#log = createLog(io, args);
    this.#registrable = registrable;
    this.#probe = registrable.createProbe({
      update: (capabilities) => this.#update({ capabilities }),
      fail: (error) => this.#fail(error),
    });
    const { replica } = registrable;
    this.report = createProgramReporter(print, replica);
    const reportLease = createLeaseReporter(print);
    this.#api = new ApiClient({ ...access, servers: args.getTexts('server'), clock });
    this.#keeper = new LeaseKeeper({
      api: this.#api,
      replica,
      instanceId: ids.createInstanceId(),
      clock,
      random,
      ready: false,
      weight,
      getLoad: registrable.getLoad,
      onChange: (change, registered) => {
        if (change.kind === 'registered') this.#isRegistered = true;
        if (change.kind === 'lost') this.#isRegistered = change.registeredWith.length > 0;
        if (change.kind === 'superseded') this.#isRegistered = false;
        reportLease(change, registered);
      },
    });
    this.#leaseEnded = this.#keeper.run();
    this.#leaseEnded.catch(() => this.#rejected.abort('SIGTERM'));
    this.stop = AbortSignal.any([io.interrupted, this.#rejected.signal]);
  }

  /** Registers the server while it is healthy, until the returned function is called. */
  watch(): () => void {
    const health =
      this.#probe &&
      new HealthWatch({
        ...this.#probe,
        clock,
        onChange: (change) => {
          this.#keeper.setReady(change.kind === 'healthy');
          this.report(change);
        },
      });
    if (health) health.start();
    else this.#keeper.setReady(true);
    return () => {
      health?.stop();
      this.#keeper.setReady(false);
    };
  }

  /** Revokes the lease. */
  async leave(): Promise<void> {
    await this.#keeper.stop();
    if (!this.#json && this.#isRegistered && !this.#rejected.signal.aborted) {
      this.#stdout.write(`unregistered ${escapeControls(this.#registrable.replica.id)}\n`);
    }
  }

  /** Keeps a server that is already running registered until shutdown. Resolves to the exit code. */
  async watchUntilStopped(): Promise<number> {
    const unwatch = this.watch();
    const exitCode = await waitForShutdown({ interrupted: this.stop });
    unwatch();
    await this.leave();
    return exitCode;
  }

  /** Ends the registration. Rejects with the reason if the server can't be registered, or the API server rejected it. */
  async end(): Promise<void> {
    await this.#keeper.stop();
    await this.#leaseEnded;
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Ends the registration and closes every connection. */
  async close(): Promise<void> {
    await this.#keeper.stop();
    this.#registrable.close?.();
    this.#api.close();
  }

  #update(change: { readonly capabilities: readonly Capability[] }): void {
    this.#keeper.update(change).catch((error) => {
      if (this.stop.aborted) return;
      const message = getErrorMessage(error);
      this.#log.warn(`cannot update the models: ${message}`, { event: 'update_failed', error: message });
    });
  }

  #fail(error: unknown): void {
    this.#failure = error;
    this.#rejected.abort('SIGTERM');
  }
}

/** Creates a printer of state changes to a log in JSON, because stderr must not have other lines then. */
function createChangeLog({ stderr }: CommandIo, lines: LogLines): ChangePrinter {
  return (isGood, _sentence, { state, replica_id: replica, ...fields }) => {
    const level = isGood ? 'info' : 'warn';
    if (lines.includes(level))
      stderr.write(lines.formatJson(level, { event: state, replica, ...fields } as LogDetails));
  };
}

/** Throws when another process already listens at the endpoint. It would be registered instead of the program. */
async function assertEndpointIsFree(endpoint: Endpoint): Promise<void> {
  const address = await findListener(endpoint);
  if (address === undefined) return;
  const location = address === endpoint ? endpoint : `${endpoint} (${address})`;
  const advice = 'stop that process, or register it without a program after --';
  throw new AnyserveError('failed', `another process already listens at ${location}; ${advice}`);
}

/** Returns the program to run. Undefined: the model server is already running. Throws `usage`. */
function readProgram(args: Arguments): readonly string[] | undefined {
  const { program } = args;
  if (program) requireValue(program[0], 'a program to run after --');
  for (const option of ['restart', 'drain-timeout']) {
    if (program || !args.isGiven(option)) continue;
    throw new AnyserveError('usage', `--${option} requires a program; give one after --`);
  }
  return program;
}
