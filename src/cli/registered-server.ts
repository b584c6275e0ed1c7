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
import { clock, getHostName, ids, instance, random } from '../system.js';
import { parseDurationMs } from './argument-parsers.js';
import { type Arguments, type CommandIo, waitForShutdown } from './command.js';
import { readCapabilities } from './label-option.js';
import { createLeaseReporter } from './lease-reporter.js';
import { createProgramReporter, type ProgramChange } from './program-reporter.js';
import { readServerAccess, readWeight } from './server-options.js';
import { runSupervised } from './supervise.js';

/** Keeps a model server registered, and runs it if a program is given, until shutdown. Resolves to the exit code. */
export async function keepServerRegistered(args: Arguments, io: CommandIo): Promise<number> {
  const replica = readReplica(args);
  const weight = readWeight(args);
  const program = readProgram(args);
  const access = readServerAccess(args, io);
  const probe = await createProbe(args, replica.endpoint, access.tls);
  if (program) await assertEndpointIsFree(replica.endpoint);
  const server = new RegisteredServer(args, replica, { access, probe, weight, isRun: program !== undefined }, io);
  try {
    const exitCode = program
      ? await runSupervised({
          program,
          restart: args.hasFlag('restart'),
          drainTimeoutMs: parseDurationMs('drain-timeout', args.getText('drain-timeout') ?? ''),
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

/** Health probe of a server. */
interface ServerProbe {
  readonly probe: Probe;
  /** Timeout of one probe, in ms. Default: that of the health watch. */
  readonly timeoutMs?: number;
}

/** How a server is registered. */
interface RegistrationSettings {
  readonly access: ServerAccess;
  readonly probe: ServerProbe | undefined;
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
  readonly #replica: Replica;
  readonly #probe: ServerProbe | undefined;
  readonly #api: ApiClient;
  readonly #keeper: LeaseKeeper;
  readonly #leaseEnded: Promise<void>;
  readonly #rejected = new AbortController();
  readonly #stdout: CommandIo['stdout'];
  readonly #json: boolean;
  #isRegistered = false;

  constructor(
    args: Arguments,
    replica: Replica,
    { access, probe, weight, isRun }: RegistrationSettings,
    io: CommandIo,
  ) {
    // With a program, stdout carries only the program's output.
    const reportIo = isRun ? { ...io, stdout: io.stderr } : io;
    this.#stdout = reportIo.stdout;
    this.#json = args.hasFlag('json');
    this.#replica = replica;
    this.#probe = probe;
    this.report = createProgramReporter(this.#json, replica, reportIo);
    const reportLease = createLeaseReporter(this.#json, reportIo);
    this.#api = new ApiClient({ ...access, servers: args.getTexts('server'), clock });
    this.#keeper = new LeaseKeeper({
      api: this.#api,
      replica,
      instanceId: ids.createInstanceId(),
      clock,
      random,
      ready: false,
      weight,
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
      this.#stdout.write(`unregistered ${escapeControls(this.#replica.id)}\n`);
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

  /** Ends the registration. Rejects with the reason if the API server rejected it. */
  async end(): Promise<void> {
    await this.#keeper.stop();
    await this.#leaseEnded;
  }

  /** Ends the registration and closes every connection. */
  async close(): Promise<void> {
    await this.#keeper.stop();
    this.#api.close();
  }
}

function readReplica(args: Arguments): Replica {
  const endpoint = parseAdvertised(
    requireValue(args.getText('endpoint'), '--endpoint HOST:PORT, the address where callers reach the model server'),
  );
  const id = args.getText('id') ?? createReplicaId({ hostName: getHostName(), instance }, getPortLabel(endpoint));
  const replica: Replica = {
    id: parseReplicaId(id),
    endpoint,
    capabilities: readCapabilities(args),
  };
  if (replica.capabilities.length === 0) requireValue(undefined, '--cap KEY=VALUE, a capability of the model server');
  return replica;
}

/** Returns the port of an endpoint for use in an id; `replica` if it has none. */
function getPortLabel(endpoint: Endpoint): string {
  return /:(\d+)\/?$/.exec(endpoint)?.[1] ?? 'replica';
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

/** Creates the health probe. Undefined: the model server always counts as healthy. Throws `usage`. */
async function createProbe(
  args: Arguments,
  endpoint: Endpoint,
  tls: ServerAccess['tls'],
): Promise<ServerProbe | undefined> {
  const model = args.getText('probe-model');
  const kind = args.getText('probe') ?? (args.program || model !== undefined ? 'grpc' : 'none');
  if (kind !== 'http' && args.isGiven('probe-path')) {
    throw new AnyserveError('usage', '--probe-path requires --probe http');
  }
  const isSecure = args.hasFlag('probe-tls');
  if (isSecure && kind !== 'grpc') throw new AnyserveError('usage', '--probe-tls requires --probe grpc');
  if (model !== undefined && kind !== 'grpc') throw new AnyserveError('usage', '--probe-model requires --probe grpc');
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
        probe: createHttpProbe(toProbeUrl(endpoint, args.getText('probe-path') ?? ''), tls),
        // Longer than the probe's own timeout, so that the probe reports the reason.
        timeoutMs: HTTP_PROBE_TIMEOUT_MS + 1000,
      };
    default:
      throw new AnyserveError('usage', `--probe ${JSON.stringify(kind)}: unknown kind; give grpc, tcp, http or none`);
  }
}

function requireValue(value: string | undefined, description: string): string {
  if (value === undefined || value === '') throw new AnyserveError('usage', `missing ${description}`);
  return value;
}
