import { raceWithAbort } from '../client/async-waits.js';
import type { InferenceClient } from '../client/client.js';
import type { InferOptions } from '../client/client-options.js';
import { AnyserveError } from '../core/errors.js';
import type { InferenceResponse, TensorValue } from '../inference/inference-data.js';
import { clock } from '../system.js';
import { findOpenTelemetryTracer } from '../telemetry/open-telemetry.js';
import { VERSION } from '../version.js';
import type { Arguments, Command, CommandIo } from './command.js';
import { INPUT_OPTIONS, readInferenceInputs } from './inference-inputs.js';
import { createResponseWriter, formatJsonLine, formatResponse } from './inference-output.js';
import { readWaitMs } from './match-wait.js';
import { MODEL_CLIENT_OPTIONS } from './model-client-options.js';
import { PARAMETER_OPTIONS } from './request-parameters.js';
import { ResponseRecord } from './response-record.js';
import { createThinkingWriter } from './thinking-writer.js';

/** `anyserve infer`: finds a replica of a model and calls it. */
export const inferCommand: Command = {
  name: 'infer',
  usage: 'MODEL [PROMPT] [--input NAME=JSON ...]',
  summary:
    'Finds a replica that offers type=MODEL, else model=MODEL, and calls it. A failed call is retried on the next ' +
    'replica. Text is printed as is, and streamed at a terminal; other tensors are printed as a table.',
  examples: [
    ['anyserve infer chat "Hello"', 'send an input named prompt, as --prompt "Hello" does'],
    [
      'anyserve infer chat "Hello" --system "Answer in French." --max-tokens 100 --temperature 0.7',
      'send chat messages with generation parameters',
    ],
    [`anyserve infer chat --input 'messages=[{"role":"user","content":"Hello"}]'`, 'send chat messages as JSON'],
    [
      'echo "Hello" | anyserve infer chat --json',
      'read the prompt from a pipe; print text, token usage and latency as JSON',
    ],
    [
      `anyserve infer multiply --input 'a=[2,3]' --input 'b=[10,20]'`,
      'send numbers in the datatypes that the model declares',
    ],
    [
      `anyserve infer resize --input 'size:INT64[2]=[224,224]' --input image:UINT8=@cat.rgb`,
      'give datatypes; read bytes from a file',
    ],
    ['anyserve infer multiply --endpoint localhost:50051 --inputs inputs.json --json', 'call a replica directly'],
  ],
  options: {
    ...INPUT_OPTIONS,
    ...PARAMETER_OPTIONS,
    stream: {
      type: 'flag',
      description: 'print the response as it arrives; with --json, one object per message',
    },
    'no-stream': { type: 'flag', description: 'wait for the complete response, even at a terminal' },
    raw: { type: 'flag', description: 'send tensors as raw bytes' },
    'no-retry': { type: 'flag', description: 'fail when the first call fails' },
    wait: {
      type: 'text',
      value: 'TIME',
      description:
        'keep asking for this long until a replica matches, before --timeout begins; when not given, only while an API ' +
        'server has just started, within --timeout',
    },
    ...MODEL_CLIENT_OPTIONS,
  },
  // More than are accepted, so that the command can report a prompt without quotes.
  maxWords: 64,
  words: [{ suggests: 'models' }, {}],
  async run(args, io) {
    const [model, , extra] = args.words;
    if (!model) throw new AnyserveError('usage', 'missing MODEL: give the name of a model, such as chat');
    if (extra !== undefined) {
      throw new AnyserveError('usage', `unexpected argument ${JSON.stringify(extra)}; put the prompt in quotes`);
    }
    if (args.hasFlag('stream') && args.hasFlag('no-stream')) {
      throw new AnyserveError('usage', '--stream and --no-stream exclude each other; give one of them');
    }
    // Loaded on demand, because help and completion don't need it.
    const { ModelClient } = await import('./model-client.js');
    const tracer = await findOpenTelemetryTracer(VERSION);
    const client = new ModelClient(model, args, io, { discoveryKind: 'route', waitMs: readWaitMs(args), tracer });
    try {
      const { inputs, ...request } = await raceWithAbort(readInferenceInputs(args, io.stdin), io.interrupted);
      const options = {
        ...request,
        version: args.getText('model-version'),
        raw: args.hasFlag('raw'),
        retryOnFailure: !args.hasFlag('no-retry'),
        signal: AbortSignal.any([io.interrupted, io.stdoutClosed]),
      };
      const isText = expectsOneText(inputs);
      const delivery = chooseDelivery(args, io, isText);
      await client.call((inferenceClient, stopSpinner) => {
        const isCollected = args.hasFlag('json') && delivery !== 'stream';
        const maxResponseBytes = isCollected ? client.maxMessageBytes : undefined;
        const call = { model, inputs, options };
        const messages = receiveMessages(inferenceClient, call, delivery, { maxResponseBytes, onMessage: stopSpinner });
        if (isCollected) return printRecord(messages, inferenceClient, isText, io);
        if (isText || delivery === 'stream') return printMessages(messages, args.hasFlag('json'), io);
        return printUnary(messages, io);
      });
      return 0;
    } finally {
      await client.close();
    }
  },
};

/** Returns whether the response will be a single text: the input is one prompt or the messages of one chat. */
function expectsOneText(inputs: Readonly<Record<string, TensorValue>>): boolean {
  return [inputs['prompt'], inputs['messages']].some((value) => {
    if (typeof value !== 'object' || value === null) return typeof value === 'string';
    return 'data' in value ? value.data.length === 1 : Array.isArray(value) && value.length === 1;
  });
}

/** Mode of delivery of the response: streamed, streamed if the replica supports it, or unary. */
type Delivery = 'stream' | 'stream or unary' | 'unary';

/**
 * Chooses the mode of delivery. By default, a text is streamed to a terminal, and with `--json`, which measures the time to
 * the first token.
 */
function chooseDelivery(args: Arguments, { stdout }: CommandIo, isText: boolean): Delivery {
  if (args.hasFlag('stream')) return 'stream';
  const canUseStream = args.hasFlag('json') || stdout.isTTY;
  return isText && canUseStream && !args.hasFlag('no-stream') ? 'stream or unary' : 'unary';
}

interface Call {
  readonly model: string;
  readonly inputs: Readonly<Record<string, TensorValue>>;
  readonly options: InferOptions;
}

/** Makes the call and yields the messages of the response. `onMessage` is called for each. */
async function* receiveMessages(
  client: InferenceClient,
  { model, inputs, options }: Call,
  delivery: Delivery,
  { maxResponseBytes, onMessage }: { readonly maxResponseBytes: number | undefined; readonly onMessage: () => void },
): AsyncGenerator<InferenceResponse> {
  if (delivery === 'unary') {
    const response = await client.infer(model, inputs, options);
    onMessage();
    yield response;
    return;
  }
  const streamOptions = { ...options, fallBackToUnary: delivery === 'stream or unary', maxResponseBytes };
  for await (const message of client.inferStream(model, inputs, streamOptions)) {
    onMessage();
    yield message;
  }
}

/** Collects the response and prints it as one JSON object with text, usage and latency. */
async function printRecord(
  messages: AsyncGenerator<InferenceResponse>,
  client: InferenceClient,
  isText: boolean,
  { stdout }: CommandIo,
): Promise<void> {
  const record = new ResponseRecord(clock, isText);
  // Saved for each message, because the client forgets a replica that fails.
  let replica: Pick<InferenceClient, 'endpoint' | 'replicaId'> = client;
  try {
    for await (const message of messages) {
      record.add(message);
      replica = { endpoint: client.endpoint, replicaId: client.replicaId };
    }
  } catch (error) {
    if (error instanceof AnyserveError && record.hasMessages)
      stdout.write(formatJsonLine(record.toJson(replica, error)));
    throw error;
  }
  stdout.write(formatJsonLine(record.toJson(client)));
}

async function printMessages(messages: AsyncGenerator<InferenceResponse>, json: boolean, io: CommandIo): Promise<void> {
  const writer = createResponseWriter(json, io);
  try {
    for await (const message of messages) await writer.write(message);
  } finally {
    writer.end();
  }
}

async function printUnary(messages: AsyncGenerator<InferenceResponse>, io: CommandIo): Promise<void> {
  const thinking = createThinkingWriter(io);
  for await (const response of messages) {
    await thinking.write(response);
    thinking.end();
    io.stdout.write(formatResponse(response, io));
  }
}
