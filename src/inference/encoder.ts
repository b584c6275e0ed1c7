import {
  BYTES_CONTENTS_TAG,
  REQUEST_TAGS,
  REQUESTED_OUTPUT_TAGS,
  RESPONSE_TAGS,
  SHARED_TAGS,
  STREAM_RESPONSE_TAGS,
  TENSOR_TAGS,
} from './field-tags.js';
import { ModelInferRequest_ParametersEntry as ParametersEntry } from './gen/open_inference.js';
import { PACKED_FIELDS } from './protobuf-packing.js';
import { ProtobufWriter } from './protobuf-writer.js';
import type {
  ParametersMessage,
  RequestMessage,
  ResponseMessage,
  StreamResponseMessage,
  TensorContents,
  TensorMessage,
} from './protocol-messages.js';

/**
 * Encodes a request. The bytes are the same as those of the generated code, which is also used for parameters. Raw
 * contents and typed arrays of floats are copied once, if they take 1 KiB or more. Other contents are copied twice.
 */
export function encodeRequest(message: RequestMessage): Buffer {
  return ProtobufWriter.write(writeRequest, message);
}

/** Encodes a response. See {@link encodeRequest}. */
export function encodeResponse(message: ResponseMessage): Buffer {
  return ProtobufWriter.write(writeResponse, message);
}

/** Encodes a message of a response stream. See {@link encodeRequest}. */
export function encodeStreamResponse(message: StreamResponseMessage): Buffer {
  return ProtobufWriter.write(writeStreamResponse, message);
}

function writeRequest(writer: ProtobufWriter, message: RequestMessage): void {
  writeSharedFields(writer, message);
  for (const input of message.inputs) writeTensor(writer, input);
  for (const { name, parameters } of message.outputs) {
    const output = writer.openField(REQUEST_TAGS.output);
    writer.writeText(REQUESTED_OUTPUT_TAGS.name, name);
    writeParameters(writer, REQUESTED_OUTPUT_TAGS.parameters, parameters);
    writer.closeField(output);
  }
  for (const raw of message.rawInputContents) writer.writeBytes(REQUEST_TAGS.rawInputContents, raw);
}

function writeResponse(writer: ProtobufWriter, message: ResponseMessage): void {
  writeSharedFields(writer, message);
  for (const output of message.outputs) writeTensor(writer, output);
  for (const raw of message.rawOutputContents) writer.writeBytes(RESPONSE_TAGS.rawOutputContents, raw);
}

function writeStreamResponse(writer: ProtobufWriter, { errorMessage, inferResponse }: StreamResponseMessage): void {
  writer.writeText(STREAM_RESPONSE_TAGS.errorMessage, errorMessage);
  if (!inferResponse) return;
  const response = writer.openField(STREAM_RESPONSE_TAGS.inferResponse);
  writeResponse(writer, inferResponse);
  writer.closeField(response);
}

/** Writes the fields that requests and responses share. */
function writeSharedFields(writer: ProtobufWriter, message: RequestMessage | ResponseMessage): void {
  writer.writeText(SHARED_TAGS.modelName, message.modelName);
  writer.writeText(SHARED_TAGS.modelVersion, message.modelVersion);
  writer.writeText(SHARED_TAGS.id, message.id);
  writeParameters(writer, SHARED_TAGS.parameters, message.parameters);
}

function writeParameters(writer: ProtobufWriter, tag: number, parameters: ParametersMessage): void {
  if (parameters.size === 0) return;
  for (const [key, value] of parameters) writer.writeBytes(tag, ParametersEntry.encode({ key, value }).finish());
}

/** Writes an input or an output. Both have the same tag. */
function writeTensor(writer: ProtobufWriter, { name, datatype, shape, parameters, contents }: TensorMessage): void {
  const tensor = writer.openField(SHARED_TAGS.tensor);
  writer.writeText(TENSOR_TAGS.name, name);
  writer.writeText(TENSOR_TAGS.datatype, datatype);
  if (shape.length > 0) {
    const sizes = writer.openField(TENSOR_TAGS.shape);
    for (const size of shape) writer.writeVarint(size);
    writer.closeField(sizes);
  }
  writeParameters(writer, TENSOR_TAGS.parameters, parameters);
  if (contents) writeContents(writer, contents);
  writer.closeField(tensor);
}

/** Writes typed contents. Numbers are packed into one value, and each byte string is a value. Nearly always there is one field. */
function writeContents(writer: ProtobufWriter, contents: TensorContents): void {
  const begin = writer.openField(TENSOR_TAGS.contents);
  for (const name of Object.keys(contents) as (keyof TensorContents)[]) {
    if (name === 'bytesContents') {
      for (const element of contents.bytesContents ?? []) writer.writeBytes(BYTES_CONTENTS_TAG, element);
      continue;
    }
    const { tag, pack } = PACKED_FIELDS[name];
    const elements = contents[name];
    if (elements && elements.length > 0) writer.writeBytes(tag, pack(elements));
  }
  writer.closeField(begin);
}
