import { raceWithAbort } from '../client/async-waits.js';
import type { InferenceClient } from '../client/client.js';
import type { InferOptions } from '../client/client-options.js';
import { AnyserveError } from '../core/errors.js';
import type { InferenceResponse } from '../inference/inference-data.js';
import type { TensorValue } from '../inference/tensor-value.js';
import { clock } from '../system.js';
import type { Arguments, Command, CommandIo } from './command.js';
import { INPUT_OPTIONS, readInferenceInputs } from './inference-inputs.js';
import { createResponseWriter, formatJsonLine, formatResponse } from './inference-output.js';
import { MODEL_CLIENT_OPTIONS } from './model-client-options.js';
import { PARAMETER_OPTIONS } from './request-parameters.js';
import { ResponseRecord } from './response-record.js';
import { createThinkingWriter } from './thinking-writer.js';

/** `anyserve infer`: finds a replica that has the model, and calls it. */
export const inferCommand: Command = {
  name: 'infer',
  usage: 'MODEL [PROMPT] [--input NAME=JSON ...]',
  summary:
    'Finds a replica that offers type=MODEL, else model=MODEL, and calls it. When the call fails it is tried at the ' +
    'next replica. Texts are printed as they are, in a terminal as they come, other tensors as a table.',
  examples: [
    ['anyserve infer chat "Hello"', 'an input called prompt, as with --prompt "Hello"'],
    [
      'anyserve infer chat "Hello" --system "Answer in French." --max-tokens 100 --temperature 0.7',
      'the messages of a chat, and how the answer is to be written',
    ],
    [
      `anyserve infer chat --input 'messages=[{"role":"user","content":"Hello"}]'`,
      'the messages of a chat as they are',
    ],
    ['echo "Hello" | anyserve infer chat --json', 'the prompt from a pipe; the text, its tokens and its time as JSON'],
    [`anyserve infer multiply --input 'a=[2,3]' --input 'b=[10,20]'`, 'numbers, as the model declares them'],
    [
      `anyserve infer resize --input 'size:INT64[2]=[224,224]' --input image:UINT8=@cat.rgb`,
      'datatypes said, bytes from a file',
    ],
    ['anyserve infer multiply --endpoint localhost:50051 --inputs inputs.json --json', 'straight at a replica'],
  ],
  options: {
    ...INPUT_OPTIONS,
    ...PARAMETER_OPTIONS,
    stream: { type: 'flag', description: 'print the parts of the answer as they come; with --json an object each' },
    'no-stream': { type: 'flag', description: 'wait for the whole answer, in a terminal, too' },
    raw: { type: 'flag', description: 'send the tensors as raw bytes' },
    'no-retry': { type: 'flag', description: 'give up when the first call fails' },
    ...MODEL_CLIENT_OPTIONS,
  },
  // More than it takes, for an error that says what to do about them.
  maxWords: 64,
  words: [{ suggests: 'models' }, {}],
  async run(args, io) {
    const [model, , another] = args.words;
    if (!model) throw new AnyserveError('usage', 'give the name of a model, such as chat');
    if (another !== undefined) {
      throw new AnyserveError('usage', `${JSON.stringify(another)} is a word too many; put the prompt in quotes`);
    }
    if (args.flag('stream') && args.flag('no-stream')) {
      throw new AnyserveError('usage', 'give --stream or --no-stream, not both');
    }
    // Loaded here, because the help and completion need nothing of it.
    const { ModelClient } = await import('./model-client.js');
    const client = new ModelClient(model, args, io);
    try {
      const { inputs, ...request } = await raceWithAbort(readInferenceInputs(args, io.stdin), io.interrupted);
      const options = {
        ...request,
        version: args.text('model-version'),
        raw: args.flag('raw'),
        retryOnFailure: !args.flag('no-retry'),
        signal: AbortSignal.any([io.interrupted, io.stdoutClosed]),
      };
      const isText = asksForOneText(inputs);
      const how = deliveryFor(args, io, isText);
      await client.call((found, stopSpinner) => {
        const isKept = args.flag('json') && how !== 'parts';
        const maxAnswerBytes = isKept ? client.maxMessageBytes : undefined;
        const parts = answerParts(found, { model, inputs, options }, how, { maxAnswerBytes, onPart: stopSpinner });
        if (isKept) return printMeasured(parts, found, isText, io);
        if (isText || how === 'parts') return printParts(parts, args.flag('json'), io);
        return printWhole(parts, io);
      });
      return 0;
    } finally {
      await client.close();
    }
  },
};

/** Whether the answer will be one text: there is one prompt, or the messages of one chat. */
function asksForOneText(inputs: Readonly<Record<string, TensorValue>>): boolean {
  return [inputs['prompt'], inputs['messages']].some((value) => {
    if (typeof value !== 'object' || value === null) return typeof value === 'string';
    return 'data' in value ? value.data.length === 1 : Array.isArray(value) && value.length === 1;
  });
}

/** How an answer comes: in parts, in parts where the replica can, or whole. */
type Delivery = 'parts' | 'parts or whole' | 'whole';

/** A text comes as it is written to whoever watches, and to the clock that takes the time of its first token. */
function deliveryFor(args: Arguments, { stdout }: CommandIo, isText: boolean): Delivery {
  if (args.flag('stream')) return 'parts';
  const isWatched = args.flag('json') || stdout.isTTY;
  return isText && isWatched && !args.flag('no-stream') ? 'parts or whole' : 'whole';
}

interface Call {
  readonly model: string;
  readonly inputs: Readonly<Record<string, TensorValue>>;
  readonly options: InferOptions;
}

async function* answerParts(
  client: InferenceClient,
  { model, inputs, options }: Call,
  how: Delivery,
  { maxAnswerBytes, onPart }: { readonly maxAnswerBytes: number | undefined; readonly onPart: () => void },
): AsyncGenerator<InferenceResponse> {
  if (how === 'whole') {
    const answer = await client.infer(model, inputs, options);
    onPart();
    yield answer;
    return;
  }
  const asked = { ...options, orWhole: how === 'parts or whole', maxAnswerBytes };
  for await (const part of client.inferStream(model, inputs, asked)) {
    onPart();
    yield part;
  }
}

async function printMeasured(
  parts: AsyncGenerator<InferenceResponse>,
  client: InferenceClient,
  isText: boolean,
  { stdout }: CommandIo,
): Promise<void> {
  const record = new ResponseRecord(clock, isText);
  // A client forgets a replica that failed.
  let replica: Pick<InferenceClient, 'endpoint' | 'replicaId'> = client;
  try {
    for await (const part of parts) {
      record.add(part);
      replica = { endpoint: client.endpoint, replicaId: client.replicaId };
    }
  } catch (error) {
    if (error instanceof AnyserveError && record.hasBegun) stdout.write(formatJsonLine(record.json(replica, error)));
    throw error;
  }
  stdout.write(formatJsonLine(record.json(client)));
}

async function printParts(parts: AsyncGenerator<InferenceResponse>, json: boolean, io: CommandIo): Promise<void> {
  const write = createResponseWriter(json, io);
  try {
    for await (const part of parts) await write.part(part);
  } finally {
    write.end();
  }
}

async function printWhole(parts: AsyncGenerator<InferenceResponse>, io: CommandIo): Promise<void> {
  const thinking = createThinkingWriter(io);
  for await (const answer of parts) {
    await thinking.write(answer);
    thinking.end();
    io.stdout.write(formatResponse(answer, io));
  }
}
