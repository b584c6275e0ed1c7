import { ApiClient, type ServerAccess } from '../client/api-client.js';
import { HealthWatch } from '../client/health-watch.js';
import { LeaseKeeper } from '../client/lease-keeper.js';
import { listenerAt } from '../client/listener.js';
import { HTTP_PROBE_LIMIT_MS, httpProbe, type Probe, probedUrl, tcpProbe } from '../client/probe.js';
import { DEFAULTS } from '../core/defaults.js';
import { parseAdvertised } from '../core/endpoint.js';
import { AnyserveError } from '../core/errors.js';
import type { HealthChange } from '../core/health.js';
import { defaultReplicaId, type Endpoint, parseReplicaId } from '../core/ids.js';
import { printable } from '../core/printable.js';
import type { Replica } from '../core/replica.js';
import { clock, hostName, instance, random } from '../system.js';
import type { Arguments, Command } from './command.js';
import { interruption } from './interruption.js';
import { leaseReporter } from './lease-report.js';
import { programReporter } from './program-report.js';
import { SERVER_OPTIONS, serverAccessFrom } from './server-options.js';
import { supervise } from './supervise.js';
import { capabilityFromCap, durationMs } from './values.js';

/** `anyserve register`: keeps a model server that knows nothing of us in the list, and runs it if told to. */
export const register: Command = {
  name: 'register',
  usage: '[--id ID] --endpoint HOST:PORT --cap KEY=VALUE[,KEY=VALUE ...] [--cap ...] [-- PROGRAM [ARG ...]]',
  summary:
    'Keeps a model server registered for as long as it runs; Ctrl-C takes it out of the list. A PROGRAM behind -- is ' +
    'started, registered once it is healthy, and out of the list as soon as it is not or has ended. Ctrl-C and SIGTERM ' +
    'take it out of the list first, and then end it; a second one ends it at once. The exit code is its own.',
  examples: [
    ['anyserve register --id r1 --endpoint localhost:50051 --cap model=qwen2', 'one capability'],
    [
      'anyserve register --id r1 --endpoint gpu7:8001 --cap model=qwen2 --cap model=llama,type=chat',
      'two, which do not mix',
    ],
    [`anyserve register --id r1 --endpoint gpu7:8001 --cap '{"gpu":1}'`, 'the same, as JSON'],
    [
      'anyserve register --id r1 --endpoint localhost:8001 --cap model=qwen2 --restart -- python serve.py --port 8001',
      'run a model server, and register it whenever it is healthy',
    ],
    [
      'anyserve register --id r1 --endpoint localhost:8001 --cap model=qwen2 --probe http --probe-path /v2/health/ready',
      'watch over one that runs already',
    ],
  ],
  options: {
    id: {
      type: 'text',
      value: 'ID',
      description:
        "the replica's name, unique in the list; made of host name, port and six random letters when not given",
      suggests: 'replica ids',
    },
    endpoint: {
      type: 'text',
      value: 'HOST:PORT',
      description: 'where callers reach it',
      suggests: 'endpoints',
    },
    cap: {
      type: 'text',
      value: 'CAP',
      description: 'one thing it can do: KEY=VALUE pairs, or a JSON object',
      repeatable: true,
      suggests: 'capability',
    },
    probe: {
      type: 'text',
      value: 'KIND',
      description:
        'register only while the endpoint is healthy: grpc (its health service, else ServerReady, else a connection), ' +
        'tcp (a connection), http (an answer of 200 to 399 within 10 s), or none; grpc for a program that is run, else none',
      choices: ['grpc', 'tcp', 'http', 'none'],
    },
    'probe-path': {
      type: 'text',
      value: 'PATH',
      description: 'what --probe http asks for: a path at the endpoint, or a whole URL',
      default: '/health',
    },
    'probe-model': {
      type: 'text',
      value: 'NAME',
      description:
        'with --probe grpc, register only while this model is ready (ModelReady), whatever the server says of itself',
    },
    'probe-tls': {
      type: 'flag',
      description: 'with --probe grpc, speak TLS with it, by --tls-ca and --tls-cert as with the API server',
    },
    restart: { type: 'flag', description: 'start the program again whenever it ends by itself' },
    'drain-timeout': {
      type: 'text',
      value: 'TIME',
      description: 'how long the program may take to end when it is told to',
      default: `${DEFAULTS.drainTimeoutMs / 1000}s`,
    },
    ...SERVER_OPTIONS,
  },
  maxWords: 0,
  runsProgram: true,
  async run(args, io) {
    const replica = replicaFrom(args);
    const program = programFrom(args);
    const access = serverAccessFrom(args, io);
    const probe = await probeFrom(args, replica.endpoint, access.tls);
    if (program) await refuseTaken(replica.endpoint);
    const api = new ApiClient(args.texts('server'), access);
    // The standard output of a program that is run belongs to it alone.
    const told = program ? { ...io, stdout: io.stderr } : io;
    const json = args.flag('json');
    const report = programReporter(json, replica, told);
    const reportLease = leaseReporter(json, told);
    let isRegistered = false;
    const keeper = new LeaseKeeper({
      api,
      replica,
      clock,
      random,
      ready: false,
      onChange(change, kept) {
        isRegistered = change.kind === 'registered' || change.kind === 'updated';
        reportLease(change, kept);
      },
    });
    const refused = new AbortController();
    const kept = keeper.run();
    kept.catch(() => refused.abort('SIGTERM'));
    const stop = AbortSignal.any([io.interrupted, refused.signal]);

    /** Registers while the server is healthy, until what is returned is called. */
    function watch(): () => void {
      const onChange = (change: HealthChange): void => {
        keeper.setReady(change.kind === 'healthy');
        report(change);
      };
      const health = probe && new HealthWatch({ ...probe, clock, onChange });
      if (health) health.start();
      else keeper.setReady(true);
      return () => {
        health?.stop();
        keeper.setReady(false);
      };
    }

    async function leave(): Promise<void> {
      await keeper.stop();
      if (!json && isRegistered && !refused.signal.aborted)
        told.stdout.write(`gave the lease of ${printable(replica.id)} back\n`);
    }

    async function watchUntilStopped(): Promise<number> {
      const unwatch = watch();
      const exitCode = await interruption({ interrupted: stop });
      unwatch();
      await leave();
      return exitCode;
    }

    try {
      const exitCode = program
        ? await supervise({
            program,
            restart: args.flag('restart'),
            drainTimeoutMs: durationMs('drain-timeout', args.text('drain-timeout') ?? ''),
            onStart: watch,
            onStop: leave,
            onChange: report,
            stop,
            insisted: io.insisted,
            clock,
            random,
          })
        : await watchUntilStopped();
      await keeper.stop();
      await kept;
      return exitCode;
    } finally {
      await keeper.stop();
      api.close();
    }
  },
};

function replicaFrom(args: Arguments): Replica {
  const endpoint = parseAdvertised(
    needed(args.text('endpoint'), '--endpoint HOST:PORT, where callers reach the model server'),
  );
  const id = args.text('id') ?? defaultReplicaId({ hostName: hostName(), instance }, portOf(endpoint));
  const replica: Replica = {
    id: parseReplicaId(id),
    endpoint,
    capabilities: args.texts('cap').map(capabilityFromCap),
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
  const address = await listenerAt(endpoint);
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
): Promise<{ readonly probe: Probe; readonly limitMs?: number } | undefined> {
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
        probe: (await import('../client/grpc-probe.js')).grpcProbe(endpoint, {
          tls: isSecure ? (tls ?? (() => ({}))) : undefined,
          model,
        }),
      };
    case 'tcp':
      return { probe: tcpProbe(endpoint) };
    case 'http':
      return {
        probe: httpProbe(probedUrl(endpoint, args.text('probe-path') ?? ''), tls),
        // A little more than the probe has, so that the reason shown is its own.
        limitMs: HTTP_PROBE_LIMIT_MS + 1000,
      };
    default:
      throw new AnyserveError('usage', `--probe ${JSON.stringify(kind)}: give grpc, tcp, http or none`);
  }
}

function needed(value: string | undefined, what: string): string {
  if (value === undefined || value === '') throw new AnyserveError('usage', `give ${what}`);
  return value;
}
