import { BinaryReader } from '@bufbuild/protobuf/wire';
import { ContentsReader } from './contents-reader.js';
import { type InferParameter, ModelInferRequest_ParametersEntry as ParametersEntry } from './gen/open_inference.js';
import {
  type AnswerMessage,
  NO_PARAMETERS,
  type ParametersMessage,
  type PartMessage,
  type RequestedOutputMessage,
  type RequestMessage,
  type TensorMessage,
} from './inference-message.js';
import { ANSWER_TAG, COMMON_TAG, PART_TAG, REQUEST_TAG, REQUESTED_OUTPUT_TAG, TENSOR_TAG } from './inference-tags.js';
import { MessageCount } from './message-limits.js';
import { MessageReader } from './message-reader.js';

/**
 * The request that bytes are. Tensors are copied once, and raw ones not at all: they are views of the bytes. Throws for
 * bytes that are none, and `invalid_argument` for what holds more than {@link MessageCount} lets through; it is counted
 * on the way, so that nothing is read twice.
 */
export function decodeRequest(bytes: Uint8Array): RequestMessage {
  const message: RequestMessage = {
    modelName: '',
    modelVersion: '',
    id: '',
    parameters: NO_PARAMETERS,
    inputs: [],
    outputs: [],
    rawInputContents: [],
  };
  const count = new MessageCount('request');
  const reader = new MessageReader(bytes);
  for (let tag = reader.tag(reader.end); tag !== 0; tag = reader.tag(reader.end)) {
    if (tag === REQUEST_TAG.output) {
      count.checkTensors('outputs', message.outputs.length + 1);
      message.outputs.push(readRequestedOutput(reader, reader.fieldEnd(reader.end), count));
    } else if (tag === REQUEST_TAG.rawInputContents) {
      count.checkTensors('raw contents', message.rawInputContents.length + 1);
      message.rawInputContents.push(reader.bytes());
    } else if (tag === COMMON_TAG.tensor) {
      count.checkTensors('inputs', message.inputs.length + 1);
      message.inputs.push(readTensor(reader, reader.fieldEnd(reader.end), count));
    } else readOther(tag, reader, message, count);
  }
  return message;
}

/** The answer that bytes are; counted as {@link decodeRequest} counts. */
export function decodeAnswer(bytes: Uint8Array): AnswerMessage {
  const reader = new MessageReader(bytes);
  return readAnswer(reader, reader.end, emptyAnswer(), new MessageCount('answer'));
}

/**
 * The part of an answer that bytes are. MLServer streams answers as they are, without the part around them
 * (`ModelInferResponse` where the protocol has `ModelStreamInferResponse`); that is a part, too.
 */
export function decodePart(bytes: Uint8Array): PartMessage {
  if (isBareAnswer(new MessageReader(bytes))) return { errorMessage: '', inferResponse: decodeAnswer(bytes) };
  const message: PartMessage = { errorMessage: '', inferResponse: undefined };
  const reader = new MessageReader(bytes);
  const count = new MessageCount('answer');
  for (let tag = reader.tag(reader.end); tag !== 0; tag = reader.tag(reader.end)) {
    if (tag === PART_TAG.errorMessage) message.errorMessage = reader.text();
    else if (tag === PART_TAG.inferResponse) {
      const before = message.inferResponse ?? emptyAnswer();
      message.inferResponse = readAnswer(reader, reader.fieldEnd(reader.end), before, count);
    } else reader.skip(tag);
  }
  return message;
}

/**
 * Whether a message is an answer and not a part with an answer in it. Both have texts or messages in the fields 1 and 2;
 * 3 to 6 are fields of an answer only: id, parameters, outputs and raw contents.
 */
function isBareAnswer(reader: MessageReader): boolean {
  for (let tag = reader.tag(reader.end); tag !== 0; tag = reader.tag(reader.end)) {
    if (tag >= COMMON_TAG.id && tag <= ANSWER_TAG.rawOutputContents && (tag & 7) === 2) return true;
    reader.skip(tag);
  }
  return false;
}

/** What requests and answers have in common. */
type CommonMessage = Pick<RequestMessage & AnswerMessage, 'modelName' | 'modelVersion' | 'id' | 'parameters'>;

function emptyAnswer(): AnswerMessage {
  return { modelName: '', modelVersion: '', id: '', parameters: NO_PARAMETERS, outputs: [], rawOutputContents: [] };
}

/** Reads into an answer, of which there may be some already: a message that comes in two parts is both together. */
function readAnswer(reader: MessageReader, end: number, message: AnswerMessage, count: MessageCount): AnswerMessage {
  for (let tag = reader.tag(end); tag !== 0; tag = reader.tag(end)) {
    if (tag === ANSWER_TAG.rawOutputContents) {
      count.checkTensors('raw contents', message.rawOutputContents.length + 1);
      message.rawOutputContents.push(reader.bytes());
    } else if (tag === COMMON_TAG.tensor) {
      count.checkTensors('outputs', message.outputs.length + 1);
      message.outputs.push(readTensor(reader, reader.fieldEnd(end), count));
    } else readOther(tag, reader, message, count);
  }
  return message;
}

function readOther(tag: number, reader: MessageReader, message: CommonMessage, count: MessageCount): void {
  if (tag === COMMON_TAG.modelName) message.modelName = reader.text();
  else if (tag === COMMON_TAG.modelVersion) message.modelVersion = reader.text();
  else if (tag === COMMON_TAG.id) message.id = reader.text();
  else if (tag === COMMON_TAG.parameters) message.parameters = withParameter(reader, message.parameters, count);
  else reader.skip(tag);
}

function readTensor(reader: MessageReader, end: number, count: MessageCount): TensorMessage {
  const tensor: TensorMessage = { name: '', datatype: '', shape: [], parameters: NO_PARAMETERS, contents: undefined };
  let contents: ContentsReader | undefined;
  for (let tag = reader.tag(end); tag !== 0; tag = reader.tag(end)) {
    if (tag === TENSOR_TAG.name) tensor.name = reader.text();
    else if (tag === TENSOR_TAG.datatype) tensor.datatype = reader.text();
    else if (tag === TENSOR_TAG.size) readSize(reader, tensor.shape, count);
    else if (tag === TENSOR_TAG.shape) {
      const shapeEnd = reader.fieldEnd(end);
      while (reader.isBefore(shapeEnd)) readSize(reader, tensor.shape, count);
    } else if (tag === TENSOR_TAG.parameters) tensor.parameters = withParameter(reader, tensor.parameters, count);
    else if (tag === TENSOR_TAG.contents) {
      contents ??= new ContentsReader();
      contents.read(reader, reader.fieldEnd(end), count);
    } else reader.skip(tag);
  }
  tensor.contents = contents?.contents();
  return tensor;
}

function readSize(reader: MessageReader, shape: bigint[], count: MessageCount): void {
  shape.push(reader.int64());
  count.checkDimensions(shape.length);
}

/** The parameters that there are, and the one that comes next. */
function withParameter(reader: MessageReader, before: ParametersMessage, count: MessageCount): ParametersMessage {
  count.addParameter();
  const entry = new BinaryReader(reader.bytes());
  const { key, value } = ParametersEntry.decode(entry, entry.len);
  if (entry.pos !== entry.len) throw new RangeError('a parameter does not end where its length says');
  if (!value) return before;
  const parameters =
    before === NO_PARAMETERS ? new Map<string, InferParameter>() : (before as Map<string, InferParameter>);
  return parameters.set(key, value);
}

function readRequestedOutput(reader: MessageReader, end: number, count: MessageCount): RequestedOutputMessage {
  const output: RequestedOutputMessage = { name: '', parameters: NO_PARAMETERS };
  for (let tag = reader.tag(end); tag !== 0; tag = reader.tag(end)) {
    if (tag === REQUESTED_OUTPUT_TAG.name) output.name = reader.text();
    else if (tag === REQUESTED_OUTPUT_TAG.parameters)
      output.parameters = withParameter(reader, output.parameters, count);
    else reader.skip(tag);
  }
  return output;
}
