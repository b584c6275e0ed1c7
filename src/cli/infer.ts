import { ApiClient } from '../client/api-client.js';
import { InferenceClient } from '../client/client.js';
import type { FailedAttempt } from '../client/retry.js';
import { unlessAborted } from '../client/unless-aborted.js';
import type { CapabilityQuery } from '../core/capability.js';
import { DEFAULTS } from '../core/defaults.js';
import { AnyserveError } from '../core/errors.js';
import * as system from '../system.js';
import type { InferenceAnswer } from '../wire/inference.js';
import { type Arguments, type Command, type CommandIo, SERVER_OPTION } from './command.js';
import { quietGrpc } from './grpc-log.js';
import { inferenceInputs } from './inference-inputs.js';
import { answerText, answerWriter } from './inference-output.js';
import { countReplicas, noMatchAmong } from './no-match.js';
import { coloursFor, printable } from './output.js';
import { durationMs, queryFromCaps, wholeNumber } from './values.js';

/** `anyserve infer`: finds a replica that has the model, and calls it. */
export const infer: Command = {
  name: 'infer',
  usage: 'MODEL [--prompt TEXT] [--input NAME=JSON ...]',
  summary:
    'Finds a replica that offers type=MODEL, else model=MODEL, and calls it. When the call fails it is tried at the ' +
    'next replica. Texts are printed as they are, other tensors as a table.',
  examples: [
    ['anyserve infer chat --prompt "Hello"', 'a BYTES input called prompt'],
    ['anyserve infer multiply --input a=[2,3] --input b=[10,20]', 'numbers, in the datatypes that the model declares'],
    [
      `anyserve infer resize --input 'size:INT64[2]=[224,224]' --input image:UINT8=@cat.rgb`,
      'datatypes said, bytes from a file',
    ],
    [
      'echo "Hello" | anyserve infer chat --prompt - --stream',
      'the prompt from standard input, the answer as it comes',
    ],
    ['anyserve infer multiply --endpoint localhost:50051 --inputs inputs.json --json', 'straight at a replica'],
  ],
  options: {
    prompt: {
      type: 'text',
      value: 'TEXT',
      description: 'a BYTES input called prompt; - reads standard input',
      mayBeEmpty: true,
    },
    input: {
      type: 'text',
      value: 'NAME=JSON',
      description: 'an input: NAME=[1,2], NAME:FP32[2,3]=[...] or NAME:UINT8=@FILE',
      repeatable: true,
    },
    inputs: {
      type: 'text',
      value: 'FILE',
      description: 'a JSON file of inputs by name, or in the form of the REST protocol; - reads standard input',
    },
    param: { type: 'text', value: 'NAME=VALUE', description: 'a request parameter', repeatable: true },
    output: { type: 'text', value: 'NAME', description: 'an output wanted; all when not given', repeatable: true },
    cap: {
      type: 'text',
      value: 'CAP',
      description: 'what to ask for in place of the name: KEY=VALUE pairs',
      repeatable: true,
    },
    server: SERVER_OPTION,
    endpoint: { type: 'text', value: 'HOST:PORT', description: 'call this replica, and ask no API server' },
    timeout: {
      type: 'text',
      value: 'TIME',
      description: 'how long it may take, all tries together',
      default: `${DEFAULTS.callTimeoutMs / 1000}s`,
    },
    stream: { type: 'flag', description: 'print the parts of the answer as they come' },
    raw: { type: 'flag', description: 'send the tensors as raw bytes' },
    'no-retry': { type: 'flag', description: 'give up when the first call fails' },
    'model-version': {
      type: 'text',
      value: 'VERSION',
      description: "the model's version; the replica chooses when not given",
    },
    'max-message-bytes': {
      type: 'text',
      value: 'N',
      description: 'the largest message taken or sent',
      default: String(DEFAULTS.maxMessageBytes),
    },
  },
  maxWords: 1,
  async run(args, io) {
    quietGrpc(io);
    const [model] = args.words;
    if (!model) throw new AnyserveError('usage', 'give the name of a model, such as chat');
    const { inputs, parameters, id, outputs } = await unlessAborted(inferenceInputs(args, io.stdin), io.interrupted);
    const options = {
      parameters,
      id,
      outputs,
      version: args.text('model-version'),
      raw: args.flag('raw'),
      retryOnFailure: !args.flag('no-retry'),
      signal: AbortSignal.any([io.interrupted, io.unread]),
    };
    return withClient(model, args, io, async (client) => {
      if (args.flag('stream')) {
        const write = answerWriter(args.flag('json'), io);
        for await (const part of client.inferStream(model, inputs, options)) await write.part(part);
        await write.end();
      } else {
        const answer: InferenceAnswer = await client.infer(model, inputs, options);
        io.stdout.write(answerText(answer, args.flag('json'), coloursFor(io.stdout, io.env)));
      }
      return 0;
    });
  },
};

/** Runs a call with a client for each way to look for the model, until one finds it. */
async function withClient(
  model: string,
  args: Arguments,
  io: CommandIo,
  call: (client: InferenceClient) => Promise<number>,
): Promise<number> {
  const options = {
    timeoutMs: durationMs('timeout', args.text('timeout') ?? ''),
    maxMessageBytes: wholeNumber('max-message-bytes', args.text('max-message-bytes') ?? '', 1024, 2 ** 31 - 1),
    onRetry: (attempt: FailedAttempt) => tellRetry(attempt, io),
  };
  const endpoint = args.text('endpoint');
  if (endpoint !== undefined) return closing(new InferenceClient({ ...options, endpoint }, system), call);

  const caps = args.texts('cap');
  const named: CapabilityQuery[] = [new Map([['type', model]]), new Map([['model', model]])];
  const queries = caps.length > 0 ? [queryFromCaps(caps)] : named;
  const server = args.texts('server');
  for (const query of queries) {
    const client = new InferenceClient({ ...options, server, capability: Object.fromEntries(query) }, system);
    try {
      return await closing(client, call);
    } catch (error) {
      if (!(error instanceof AnyserveError) || error.code !== 'no_match') throw error;
    }
  }
  const api = new ApiClient(server);
  try {
    throw noMatchAmong(queries, await countReplicas(api, io.interrupted));
  } finally {
    api.close();
  }
}

async function closing<T>(client: InferenceClient, call: (client: InferenceClient) => Promise<T>): Promise<T> {
  try {
    return await call(client);
  } finally {
    await client.close();
  }
}

function tellRetry({ replicaId, error }: FailedAttempt, { stderr, env }: CommandIo): void {
  const line = `replica ${JSON.stringify(replicaId)} failed (${error.message}); trying another`;
  stderr.write(`${coloursFor(stderr, env).yellow(printable(line))}\n`);
}
