import { BinaryReader } from '@bufbuild/protobuf/wire';
import { ContentsReader } from './contents-reader.js';
import {
  REQUEST_TAGS,
  REQUESTED_OUTPUT_TAGS,
  RESPONSE_TAGS,
  SHARED_TAGS,
  STREAM_RESPONSE_TAGS,
  TENSOR_TAGS,
} from './field-tags.js';
import { type InferParameter, ModelInferRequest_ParametersEntry as ParametersEntry } from './gen/open_inference.js';
import { MessageCounter } from './message-limits.js';
import { ProtobufReader } from './protobuf-reader.js';
import {
  NO_PARAMETERS,
  type ParametersMessage,
  type RequestedOutputMessage,
  type RequestMessage,
  type ResponseMessage,
  type StreamResponseMessage,
  type TensorMessage,
} from './protocol-messages.js';

/**
 * Decodes a request. Typed contents are copied once, and raw contents are views of the bytes. Throws for malformed bytes,
 * and `invalid_argument` for a message that exceeds the limits of {@link MessageCounter}. The limits are checked while
 * decoding, so that nothing is read twice.
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
  const counter = new MessageCounter('request');
  const reader = new ProtobufReader(bytes);
  for (let tag = reader.readTag(reader.end); tag !== 0; tag = reader.readTag(reader.end)) {
    if (tag === REQUEST_TAGS.output) {
      counter.checkTensors('outputs', message.outputs.length + 1);
      message.outputs.push(readRequestedOutput(reader, reader.readFieldEnd(reader.end), counter));
    } else if (tag === REQUEST_TAGS.rawInputContents) {
      counter.checkTensors('raw contents', message.rawInputContents.length + 1);
      message.rawInputContents.push(reader.readBytes());
    } else if (tag === SHARED_TAGS.tensor) {
      counter.checkTensors('inputs', message.inputs.length + 1);
      message.inputs.push(readTensor(reader, reader.readFieldEnd(reader.end), counter));
    } else readSharedField(tag, reader, message, counter);
  }
  return message;
}

/** Decodes a response, with the same limits as {@link decodeRequest}. */
export function decodeResponse(bytes: Uint8Array): ResponseMessage {
  const reader = new ProtobufReader(bytes);
  return readResponse(reader, reader.end, createEmptyResponse(), new MessageCounter('response'));
}

/**
 * Decodes a message of a response stream. MLServer sends `ModelInferResponse` where the protocol has
 * `ModelStreamInferResponse`, so such bare responses are accepted too.
 */
export function decodeStreamResponse(bytes: Uint8Array): StreamResponseMessage {
  if (isBareResponse(new ProtobufReader(bytes))) return { errorMessage: '', inferResponse: decodeResponse(bytes) };
  const message: StreamResponseMessage = { errorMessage: '', inferResponse: undefined };
  const reader = new ProtobufReader(bytes);
  const counter = new MessageCounter('response');
  for (let tag = reader.readTag(reader.end); tag !== 0; tag = reader.readTag(reader.end)) {
    if (tag === STREAM_RESPONSE_TAGS.errorMessage) message.errorMessage = reader.readText();
    else if (tag === STREAM_RESPONSE_TAGS.inferResponse) {
      const before = message.inferResponse ?? createEmptyResponse();
      message.inferResponse = readResponse(reader, reader.readFieldEnd(reader.end), before, counter);
    } else reader.skip(tag);
  }
  return message;
}

/**
 * Returns whether a message is a `ModelInferResponse` and not a `ModelStreamInferResponse` that contains one. Both have
 * strings or messages in fields 1 and 2. Only the former has fields 3 to 6: id, parameters, outputs and raw contents.
 */
function isBareResponse(reader: ProtobufReader): boolean {
  for (let tag = reader.readTag(reader.end); tag !== 0; tag = reader.readTag(reader.end)) {
    if (tag >= SHARED_TAGS.id && tag <= RESPONSE_TAGS.rawOutputContents && (tag & 7) === 2) return true;
    reader.skip(tag);
  }
  return false;
}

/** The fields that requests and responses share. */
type CommonMessage = Pick<RequestMessage & ResponseMessage, 'modelName' | 'modelVersion' | 'id' | 'parameters'>;

function createEmptyResponse(): ResponseMessage {
  return { modelName: '', modelVersion: '', id: '', parameters: NO_PARAMETERS, outputs: [], rawOutputContents: [] };
}

/** Reads fields into a response, which can have fields already: protobuf merges a message field that occurs twice. */
function readResponse(
  reader: ProtobufReader,
  end: number,
  message: ResponseMessage,
  counter: MessageCounter,
): ResponseMessage {
  for (let tag = reader.readTag(end); tag !== 0; tag = reader.readTag(end)) {
    if (tag === RESPONSE_TAGS.rawOutputContents) {
      counter.checkTensors('raw contents', message.rawOutputContents.length + 1);
      message.rawOutputContents.push(reader.readBytes());
    } else if (tag === SHARED_TAGS.tensor) {
      counter.checkTensors('outputs', message.outputs.length + 1);
      message.outputs.push(readTensor(reader, reader.readFieldEnd(end), counter));
    } else readSharedField(tag, reader, message, counter);
  }
  return message;
}

function readSharedField(tag: number, reader: ProtobufReader, message: CommonMessage, counter: MessageCounter): void {
  if (tag === SHARED_TAGS.modelName) message.modelName = reader.readText();
  else if (tag === SHARED_TAGS.modelVersion) message.modelVersion = reader.readText();
  else if (tag === SHARED_TAGS.id) message.id = reader.readText();
  else if (tag === SHARED_TAGS.parameters) message.parameters = addParameter(reader, message.parameters, counter);
  else reader.skip(tag);
}

function readTensor(reader: ProtobufReader, end: number, counter: MessageCounter): TensorMessage {
  const tensor: TensorMessage = { name: '', datatype: '', shape: [], parameters: NO_PARAMETERS, contents: undefined };
  let contents: ContentsReader | undefined;
  for (let tag = reader.readTag(end); tag !== 0; tag = reader.readTag(end)) {
    if (tag === TENSOR_TAGS.name) tensor.name = reader.readText();
    else if (tag === TENSOR_TAGS.datatype) tensor.datatype = reader.readText();
    else if (tag === TENSOR_TAGS.size) readSize(reader, tensor.shape, counter);
    else if (tag === TENSOR_TAGS.shape) {
      const shapeEnd = reader.readFieldEnd(end);
      while (reader.isBefore(shapeEnd)) readSize(reader, tensor.shape, counter);
    } else if (tag === TENSOR_TAGS.parameters) tensor.parameters = addParameter(reader, tensor.parameters, counter);
    else if (tag === TENSOR_TAGS.contents) {
      contents ??= new ContentsReader();
      contents.read(reader, reader.readFieldEnd(end), counter);
    } else reader.skip(tag);
  }
  tensor.contents = contents?.getContents();
  return tensor;
}

function readSize(reader: ProtobufReader, shape: bigint[], counter: MessageCounter): void {
  shape.push(reader.readInt64());
  counter.checkDimensions(shape.length);
}

/** Reads the next parameter and adds it to those read before. */
function addParameter(reader: ProtobufReader, before: ParametersMessage, counter: MessageCounter): ParametersMessage {
  counter.addParameter();
  const entry = new BinaryReader(reader.readBytes());
  const { key, value } = ParametersEntry.decode(entry, entry.len);
  if (entry.pos !== entry.len) throw new RangeError('a parameter does not match its length prefix');
  if (!value) return before;
  const parameters =
    before === NO_PARAMETERS ? new Map<string, InferParameter>() : (before as Map<string, InferParameter>);
  return parameters.set(key, value);
}

function readRequestedOutput(reader: ProtobufReader, end: number, counter: MessageCounter): RequestedOutputMessage {
  const output: RequestedOutputMessage = { name: '', parameters: NO_PARAMETERS };
  for (let tag = reader.readTag(end); tag !== 0; tag = reader.readTag(end)) {
    if (tag === REQUESTED_OUTPUT_TAGS.name) output.name = reader.readText();
    else if (tag === REQUESTED_OUTPUT_TAGS.parameters)
      output.parameters = addParameter(reader, output.parameters, counter);
    else reader.skip(tag);
  }
  return output;
}
