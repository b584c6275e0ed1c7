import { BinaryReader } from '@bufbuild/protobuf/wire';
import { ContentsReader } from './contents-reader.js';
import {
  type InferParameter,
  ModelInferRequest_ParametersEntry as ParametersEntry,
  type ModelInferRequest_InferRequestedOutputTensor as RequestedOutput,
} from './gen/open_inference.js';
import type { AnswerMessage, PartMessage, RequestMessage, TensorMessage } from './inference-message.js';
import { checkEnd, fieldEnd, nextTag } from './message-fields.js';
import { RequestCount } from './request-limits.js';

/**
 * The request that bytes are. Tensors are copied once, and raw ones not at all: they are views of the bytes. Throws for
 * bytes that are none, and `invalid_argument` for what holds more than {@link RequestCount} lets through; it is counted
 * on the way, so that nothing is read twice.
 */
export function decodeRequest(bytes: Uint8Array): RequestMessage {
  const message: RequestMessage = {
    modelName: '',
    modelVersion: '',
    id: '',
    parameters: new Map(),
    inputs: [],
    outputs: [],
    rawInputContents: [],
  };
  const count = new RequestCount();
  const reader = new BinaryReader(bytes);
  for (let tag = nextTag(reader, bytes.length); tag !== 0; tag = nextTag(reader, bytes.length)) {
    if (tag === 50) {
      count.add('outputs');
      message.outputs.push(readRequestedOutput(reader, fieldEnd(reader, bytes.length), count));
    } else if (tag === 58) {
      count.add('raw contents');
      message.rawInputContents.push(reader.bytes());
    } else if (tag === 42) {
      count.add('inputs');
      message.inputs.push(readTensor(reader, fieldEnd(reader, bytes.length), count));
    } else readOther(tag, reader, bytes.length, message, count);
  }
  return message;
}

/** The answer that bytes are; as {@link decodeRequest}, but nothing is counted: whom we asked may say as much as it wants. */
export function decodeAnswer(bytes: Uint8Array): AnswerMessage {
  return readAnswer(new BinaryReader(bytes), bytes.length, emptyAnswer());
}

/** The part of an answer that bytes are. */
export function decodePart(bytes: Uint8Array): PartMessage {
  const message: PartMessage = { errorMessage: '', inferResponse: undefined };
  const reader = new BinaryReader(bytes);
  for (let tag = nextTag(reader, bytes.length); tag !== 0; tag = nextTag(reader, bytes.length)) {
    if (tag === 10) message.errorMessage = reader.string();
    else if (tag === 18) {
      message.inferResponse = readAnswer(
        reader,
        fieldEnd(reader, bytes.length),
        message.inferResponse ?? emptyAnswer(),
      );
    } else reader.skip(tag & 7, tag >>> 3);
  }
  return message;
}

/** What requests and answers have in common. */
type CommonMessage = Pick<RequestMessage & AnswerMessage, 'modelName' | 'modelVersion' | 'id' | 'parameters'>;

function emptyAnswer(): AnswerMessage {
  return { modelName: '', modelVersion: '', id: '', parameters: new Map(), outputs: [], rawOutputContents: [] };
}

/** Reads into an answer, of which there may be some already: a message that comes in two parts is both together. */
function readAnswer(reader: BinaryReader, end: number, message: AnswerMessage): AnswerMessage {
  for (let tag = nextTag(reader, end); tag !== 0; tag = nextTag(reader, end)) {
    if (tag === 50) message.rawOutputContents.push(reader.bytes());
    else if (tag === 42) message.outputs.push(readTensor(reader, fieldEnd(reader, end), undefined));
    else readOther(tag, reader, end, message, undefined);
  }
  return message;
}

function readOther(
  tag: number,
  reader: BinaryReader,
  end: number,
  message: CommonMessage,
  count: RequestCount | undefined,
): void {
  if (tag === 10) message.modelName = reader.string();
  else if (tag === 18) message.modelVersion = reader.string();
  else if (tag === 26) message.id = reader.string();
  else if (tag === 34) readParameter(reader, end, message.parameters, count);
  else reader.skip(tag & 7, tag >>> 3);
}

function readTensor(reader: BinaryReader, end: number, count: RequestCount | undefined): TensorMessage {
  const tensor: TensorMessage = { name: '', datatype: '', shape: [], parameters: new Map(), contents: undefined };
  let contents: ContentsReader | undefined;
  for (let tag = nextTag(reader, end); tag !== 0; tag = nextTag(reader, end)) {
    if (tag === 10) tensor.name = reader.string();
    else if (tag === 18) tensor.datatype = reader.string();
    else if (tag === 24) readSize(reader, tensor.shape, count);
    else if (tag === 26) {
      const shapeEnd = fieldEnd(reader, end);
      while (reader.pos < shapeEnd) readSize(reader, tensor.shape, count);
      checkEnd(reader, shapeEnd);
    } else if (tag === 34) readParameter(reader, end, tensor.parameters, count);
    else if (tag === 42) {
      contents ??= new ContentsReader();
      contents.read(reader, fieldEnd(reader, end), count);
    } else reader.skip(tag & 7, tag >>> 3);
  }
  tensor.contents = contents?.contents();
  return tensor;
}

function readSize(reader: BinaryReader, shape: bigint[], count: RequestCount | undefined): void {
  shape.push(reader.int64() as bigint);
  count?.checkDimensions(shape.length);
}

function readParameter(
  reader: BinaryReader,
  end: number,
  parameters: Map<string, InferParameter>,
  count: RequestCount | undefined,
): void {
  count?.add('parameters');
  const entryEnd = fieldEnd(reader, end);
  const { key, value } = ParametersEntry.decode(reader, entryEnd - reader.pos);
  checkEnd(reader, entryEnd);
  if (value) parameters.set(key, value);
}

function readRequestedOutput(reader: BinaryReader, end: number, count: RequestCount): RequestedOutput {
  const output: RequestedOutput = { name: '', parameters: new Map() };
  for (let tag = nextTag(reader, end); tag !== 0; tag = nextTag(reader, end)) {
    if (tag === 10) output.name = reader.string();
    else if (tag === 18) readParameter(reader, end, output.parameters, count);
    else reader.skip(tag & 7, tag >>> 3);
  }
  return output;
}
