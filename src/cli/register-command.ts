import { MODEL_TYPES } from '../client/engine/model-type.js';
import { parseOpenaiUrl } from '../client/engine/openai-access.js';
import { DEFAULTS } from '../core/defaults.js';
import { parseAdvertised } from '../core/endpoint.js';
import { parseCap } from './argument-parsers.js';
import type { Command } from './command.js';
import { LABEL_OPTION } from './label-option.js';
import { LOG_OPTIONS } from './log-lines.js';
import { METRICS_OPTIONS } from './metrics-options.js';
import { OPENAI_ACCESS_OPTIONS } from './openai-options.js';
import { REGISTRATION_OPTIONS, SERVER_OPTIONS } from './server-options.js';

/** `anyserve register`: keeps a model server registered, and optionally runs it. */
export const registerCommand: Command = {
  name: 'register',
  usage:
    '[--id ID] (--endpoint HOST:PORT --cap KEY=VALUE[,KEY=VALUE ...] [--cap ...] | --openai URL) [-- PROGRAM [ARG ...]]',
  summary:
    'Keeps a model server registered until the command ends; Ctrl-C unregisters it. With --openai, the endpoint is the URL ' +
    'of an engine with the HTTP API of OpenAI, and the capabilities are the models that it lists, also later. A PROGRAM after -- is started, ' +
    'registered while it is healthy, and unregistered when it is unhealthy or has exited. Ctrl-C and SIGTERM ' +
    'unregister it first, and then stop it; a second one kills it. The exit code is that of PROGRAM.',
  examples: [
    ['anyserve register --id r1 --endpoint localhost:50051 --cap model=qwen2', 'register a server with one capability'],
    [
      'anyserve register --id r1 --endpoint gpu7:8001 --cap model=qwen2 --cap model=llama,type=chat',
      'two capabilities; a query must match one of them completely',
    ],
    [`anyserve register --id r1 --endpoint gpu7:8001 --cap '{"gpu":1}'`, 'capability as JSON'],
    [
      'anyserve register --id r1 --endpoint localhost:8001 --cap model=qwen2 --restart -- python serve.py --port 8001',
      'run a model server and register it while it is healthy',
    ],
    [
      'anyserve register --id r1 --endpoint localhost:8001 --cap model=qwen2 --probe http --probe-path /v2/health/ready',
      'monitor a server that is already running',
    ],
    [
      'anyserve register --openai http://gpu7:8000/v1 --label zone=a',
      'register the HTTP API of an engine, with the models that it lists',
    ],
    [
      'anyserve register --openai http://localhost:8000/v1 --advertise http://gpu7:8000/v1 -- vllm serve Qwen/Qwen3-8B',
      'run an engine, and register it under the address that callers use',
    ],
  ],
  options: {
    id: {
      type: 'text',
      value: 'ID',
      description: 'unique id of the replica; when not given, made from host name, port and six random letters',
      suggests: 'replica ids',
    },
    endpoint: {
      type: 'text',
      value: 'HOST:PORT',
      description: 'address where callers reach the model server',
      suggests: 'endpoints',
      check: parseAdvertised,
    },
    cap: {
      type: 'text',
      value: 'CAP',
      description:
        'capability: KEY=VALUE pairs, or a JSON object; with --openai, extends and overrides those of the models, or of the one it names',
      repeatable: true,
      suggests: 'capability',
      check: parseCap,
    },
    label: LABEL_OPTION,
    openai: {
      type: 'text',
      value: 'URL',
      description:
        'register this OpenAI-compatible server, such as http://localhost:8000/v1, with the models that it lists',
      check: parseOpenaiUrl,
    },
    advertise: {
      type: 'text',
      value: 'URL',
      description: 'with --openai: URL where callers reach the server, if it differs from that of --openai',
      check: (value) => parseAdvertised(parseOpenaiUrl(value)),
    },
    type: {
      type: 'text',
      value: 'NAME=TYPE',
      description:
        `type of a model of --openai (${MODEL_TYPES.join(', ')}); overrides the type that the server reports; ` +
        'when neither says it, chat',
      repeatable: true,
    },
    ...OPENAI_ACCESS_OPTIONS,
    ...REGISTRATION_OPTIONS,
    probe: {
      type: 'text',
      value: 'KIND',
      description:
        'register only while this probe succeeds: grpc (health service, else ServerReady, else a connection), ' +
        'tcp (a connection), http (status 200 to 399 within 10 s), or none; when not given, grpc with a PROGRAM, else none',
      choices: ['grpc', 'tcp', 'http', 'none'],
    },
    'probe-path': {
      type: 'text',
      value: 'PATH|none',
      description:
        'with --probe http: path at the endpoint, or a complete URL; when not given, /health. With --openai: path below its ' +
        'URL or, if not found there, the parent of its /v1; when not given, /models, and /health of vLLM, SGLang, llama.cpp and TGI',
    },
    'probe-model': {
      type: 'text',
      value: 'NAME',
      description: 'with --probe grpc: probe this model (ModelReady) instead of the server',
    },
    'probe-tls': {
      type: 'flag',
      description: 'with --probe grpc: probe over TLS, with --tls-ca and --tls-cert',
    },
    restart: { type: 'flag', description: 'restart the program whenever it exits without being stopped' },
    'drain-timeout': {
      type: 'text',
      value: 'TIME',
      description:
        'time for the program to exit after SIGTERM or Ctrl-C, before it is killed; as much time before that for the calls of ' +
        'an engine of --openai that reports them in its metrics, after SIGTERM',
      default: `${DEFAULTS.drainTimeoutMs / 1000}s`,
    },
    ...METRICS_OPTIONS,
    ...LOG_OPTIONS,
    ...SERVER_OPTIONS,
  },
  maxWords: 0,
  runsProgram: true,
  async run(args, io) {
    // Loaded on demand, because help and completion don't need it.
    const { keepServerRegistered } = await import('./registered-server.js');
    return keepServerRegistered(args, io);
  },
};
