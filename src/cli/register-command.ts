import { DEFAULTS } from '../core/defaults.js';
import type { Command } from './command.js';
import { SERVER_OPTIONS } from './server-options.js';

/** `anyserve register`: keeps a model server registered, and runs it if a program is given. */
export const registerCommand: Command = {
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
    // Loaded here, because the help and completion need nothing of it.
    const { keepServerRegistered } = await import('./registered-server.js');
    return keepServerRegistered(args, io);
  },
};
