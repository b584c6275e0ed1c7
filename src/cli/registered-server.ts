import { ApiClient } from '../client/api-client.js';
import type { ServerAccess } from '../client/api-servers.js';
import { HealthWatch } from '../client/health-watch.js';
import { LeaseKeeper } from '../client/lease-keeper.js';
import { createHttpProbe, createTcpProbe, HTTP_PROBE_TIMEOUT_MS, type Probe, toProbeUrl } from '../client/probe.js';
import { findListener } from '../client/tcp-listener.js';
import { escapeControls } from '../core/control-characters.js';
import { parseAdvertised } from '../core/endpoint.js';
import { AnyserveError } from '../core/errors.js';
import { createReplicaId, type Endpoint, parseReplicaId } from '../core/ids.js';
import type { Replica } from '../core/replica.js';
import { clock, getHostName, instance, random } from '../system.js';
import { parseCap, parseDurationMs } from './argument-parsers.js';
import type { Arguments, CommandIo } from './command.js';
import { createLeaseReporter } from './lease-reporter.js';
import { createProgramReporter, type ProgramChange } from './program-reporter.js';
import { readServerAccess } from './server-options.js';
import { waitForShutdown } from './shutdown-signals.js';
import { runSupervised } from './supervise.js';

/** Registers a model server, and runs it if a program is given, until it is told to stop. Resolves to the exit code. */
export async function keepServerRegistered(args: Arguments, io: CommandIo): Promise<number> {
  const replica = replicaFrom(args);
  const program = programFrom(args);
  const access = readServerAccess(args, io);
  const probe = await probeFrom(args, replica.endpoint, access.tls);
  if (program) await refuseTaken(replica.endpoint);
  const server = new RegisteredServer(args, replica, { access, probe, isRun: program !== undefined }, io);
  try {
    const exitCode = program
      ? await runSupervised({
          program,
          restart: args.flag('restart'),
          drainTimeoutMs: parseDurationMs('drain-timeout', args.text('drain-timeout') ?? ''),
          onStart: () => server.watch(),
          onStop: () => server.leave(),
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
    await server.close();
  }
}

/** How to tell whether a server is healthy. */
interface ServerProbe {
  readonly probe: Probe;
  /** Timeout of one probe, in ms. Default: that of the health watch. */
  readonly timeoutMs?: number;
}

/** A model server with its registration, which holds while the server is healthy. */
class RegisteredServer {
  /** Aborted when the server is to stop: by a signal, or because its registration is refused. */
  readonly stop: AbortSignal;
  /** Reports a change of the server. */
  readonly report: (change: ProgramChange) => void;
  readonly #replica: Replica;
  readonly #probe: ServerProbe | undefined;
  readonly #api: ApiClient;
  readonly #keeper: LeaseKeeper;
  readonly #kept: Promise<void>;
  readonly #refused = new AbortController();
  readonly #stdout: CommandIo['stdout'];
  readonly #json: boolean;
  #isRegistered = false;

  constructor(
    args: Arguments,
    replica: Replica,
    {
      access,
      probe,
      isRun,
    }: { readonly access: ServerAccess; readonly probe: ServerProbe | undefined; readonly isRun: boolean },
    io: CommandIo,
  ) {
    // The standard output of a program that is run belongs to the program alone.
    const reported = isRun ? { ...io, stdout: io.stderr } : io;
    this.#stdout = reported.stdout;
    this.#json = args.flag('json');
    this.#replica = replica;
    this.#probe = probe;
    this.report = createProgramReporter(this.#json, replica, reported);
    const reportLease = createLeaseReporter(this.#json, reported);
    this.#api = new ApiClient(args.texts('server'), access);
    this.#keeper = new LeaseKeeper({
      api: this.#api,
      replica,
      clock,
      random,
      ready: false,
      onChange: (change, kept) => {
        this.#isRegistered = change.kind === 'registered' || change.kind === 'updated';
        reportLease(change, kept);
      },
    });
    this.#kept = this.#keeper.run();
    this.#kept.catch(() => this.#refused.abort('SIGTERM'));
    this.stop = AbortSignal.any([io.interrupted, this.#refused.signal]);
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

  /** Gives the lease back. */
  async leave(): Promise<void> {
    await this.#keeper.stop();
    if (!this.#json && this.#isRegistered && !this.#refused.signal.aborted) {
      this.#stdout.write(`gave the lease of ${escapeControls(this.#replica.id)} back\n`);
    }
  }

  /** Watches a server that runs already. Resolves to the exit code. */
  async watchUntilStopped(): Promise<number> {
    const unwatch = this.watch();
    const exitCode = await waitForShutdown({ interrupted: this.stop });
    unwatch();
    await this.leave();
    return exitCode;
  }

  /** Ends the registration. Rejects with the reason when it was refused. */
  async end(): Promise<void> {
    await this.#keeper.stop();
    await this.#kept;
  }

  /** Ends the registration and every connection. */
  async close(): Promise<void> {
    await this.#keeper.stop();
    this.#api.close();
  }
}

function replicaFrom(args: Arguments): Replica {
  const endpoint = parseAdvertised(
    needed(args.text('endpoint'), '--endpoint HOST:PORT, where callers reach the model server'),
  );
  const id = args.text('id') ?? createReplicaId({ hostName: getHostName(), instance }, portOf(endpoint));
  const replica: Replica = {
    id: parseReplicaId(id),
    endpoint,
    capabilities: args.texts('cap').map(parseCap),
  };
  if (replica.capabilities.length === 0) needed(undefined, '--cap KEY=VALUE, what the model server can do');
  return replica;
}

/** The port of an endpoint; of one without a port, a word for it. */
function portOf(endpoint: Endpoint): string {
  return /:(\d+)\/?$/.exec(endpoint)?.[1] ?? 'replica';
}

/** Throws when something listens where a program is about to: it would be registered in the place of that program. */
async function refuseTaken(endpoint: Endpoint): Promise<void> {
  const address = await findListener(endpoint);
  if (address === undefined) return;
  const where = address === endpoint ? endpoint : `${endpoint} (${address})`;
  const advice = 'stop that first, or register it as it is, without a program behind --';
  throw new AnyserveError('failed', `something listens at ${where} already; ${advice}`);
}

/** The program to run; undefined: the model server runs already. */
function programFrom(args: Arguments): readonly string[] | undefined {
  const { program } = args;
  if (program) needed(program[0], 'a program to run behind --');
  for (const option of ['restart', 'drain-timeout']) {
    if (program || !args.isGiven(option)) continue;
    throw new AnyserveError('usage', `--${option} is for a program that is run; give one behind --`);
  }
  return program;
}

/** How to tell whether the model server is healthy; undefined: it is taken to be. */
async function probeFrom(
  args: Arguments,
  endpoint: Endpoint,
  tls: ServerAccess['tls'],
): Promise<ServerProbe | undefined> {
  const model = args.text('probe-model');
  const kind = args.text('probe') ?? (args.program || model !== undefined ? 'grpc' : 'none');
  if (kind !== 'http' && args.isGiven('probe-path')) {
    throw new AnyserveError('usage', '--probe-path is for --probe http');
  }
  const isSecure = args.flag('probe-tls');
  if (isSecure && kind !== 'grpc') throw new AnyserveError('usage', '--probe-tls is for --probe grpc');
  if (model !== undefined && kind !== 'grpc') throw new AnyserveError('usage', '--probe-model is for --probe grpc');
  switch (kind) {
    case 'none':
      return undefined;
    case 'grpc':
      return {
        probe: (await import('../client/grpc-probe.js')).createGrpcProbe(endpoint, {
          tls: isSecure ? (tls ?? (() => ({}))) : undefined,
          model,
        }),
      };
    case 'tcp':
      return { probe: createTcpProbe(endpoint) };
    case 'http':
      return {
        probe: createHttpProbe(toProbeUrl(endpoint, args.text('probe-path') ?? ''), tls),
        // A little more than the probe has, so that the reason shown is its own.
        timeoutMs: HTTP_PROBE_TIMEOUT_MS + 1000,
      };
    default:
      throw new AnyserveError('usage', `--probe ${JSON.stringify(kind)}: give grpc, tcp, http or none`);
  }
}

function needed(value: string | undefined, what: string): string {
  if (value === undefined || value === '') throw new AnyserveError('usage', `give ${what}`);
  return value;
}
