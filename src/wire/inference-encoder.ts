import { ModelInferRequest_ParametersEntry as ParametersEntry } from './gen/open_inference.js';
import type {
  AnswerMessage,
  ParametersMessage,
  PartMessage,
  RequestMessage,
  TensorContents,
  TensorMessage,
} from './inference-message.js';
import {
  ANSWER_TAG,
  BYTES_CONTENTS_TAG,
  COMMON_TAG,
  PART_TAG,
  REQUEST_TAG,
  REQUESTED_OUTPUT_TAG,
  TENSOR_TAG,
} from './inference-tags.js';
import { MessageWriter } from './message-writer.js';
import { PACKED_FIELDS } from './packed-elements.js';

/**
 * The bytes of a request: byte for byte what the generated code writes, which writes the parameters here, too. Tensors are
 * copied once.
 */
export function encodeRequest(message: RequestMessage): Buffer {
  return MessageWriter.write(writeRequest, message);
}

/** The bytes of an answer, as {@link encodeRequest} makes them. */
export function encodeAnswer(message: AnswerMessage): Buffer {
  return MessageWriter.write(writeAnswer, message);
}

/** The bytes of a part of an answer. */
export function encodePart(message: PartMessage): Buffer {
  return MessageWriter.write(writePart, message);
}

function writeRequest(writer: MessageWriter, message: RequestMessage): void {
  writeCommon(writer, message);
  for (const input of message.inputs) writeTensor(writer, input);
  for (const { name, parameters } of message.outputs) {
    const output = writer.open(REQUEST_TAG.output);
    writer.text(REQUESTED_OUTPUT_TAG.name, name);
    writeParameters(writer, REQUESTED_OUTPUT_TAG.parameters, parameters);
    writer.close(output);
  }
  for (const raw of message.rawInputContents) writer.bytes(REQUEST_TAG.rawInputContents, raw);
}

function writeAnswer(writer: MessageWriter, message: AnswerMessage): void {
  writeCommon(writer, message);
  for (const output of message.outputs) writeTensor(writer, output);
  for (const raw of message.rawOutputContents) writer.bytes(ANSWER_TAG.rawOutputContents, raw);
}

function writePart(writer: MessageWriter, { errorMessage, inferResponse }: PartMessage): void {
  writer.text(PART_TAG.errorMessage, errorMessage);
  if (!inferResponse) return;
  const response = writer.open(PART_TAG.inferResponse);
  writeAnswer(writer, inferResponse);
  writer.close(response);
}

/** The fields that a request and an answer have alike. */
function writeCommon(writer: MessageWriter, message: RequestMessage | AnswerMessage): void {
  writer.text(COMMON_TAG.modelName, message.modelName);
  writer.text(COMMON_TAG.modelVersion, message.modelVersion);
  writer.text(COMMON_TAG.id, message.id);
  writeParameters(writer, COMMON_TAG.parameters, message.parameters);
}

function writeParameters(writer: MessageWriter, tag: number, parameters: ParametersMessage): void {
  if (parameters.size === 0) return;
  for (const [key, value] of parameters) writer.bytes(tag, ParametersEntry.encode({ key, value }).finish());
}

/** Inputs and outputs are written alike. */
function writeTensor(writer: MessageWriter, { name, datatype, shape, parameters, contents }: TensorMessage): void {
  const tensor = writer.open(COMMON_TAG.tensor);
  writer.text(TENSOR_TAG.name, name);
  writer.text(TENSOR_TAG.datatype, datatype);
  if (shape.length > 0) {
    const sizes = writer.open(TENSOR_TAG.shape);
    for (const size of shape) writer.varint(size);
    writer.close(sizes);
  }
  writeParameters(writer, TENSOR_TAG.parameters, parameters);
  if (contents) writeContents(writer, contents);
  writer.close(tensor);
}

/** Packed numbers are one value, byte strings one each. Fields are written in the order in which they stand; nearly always there is one. */
function writeContents(writer: MessageWriter, contents: TensorContents): void {
  const begin = writer.open(TENSOR_TAG.contents);
  for (const name of Object.keys(contents) as (keyof TensorContents)[]) {
    if (name === 'bytesContents') {
      for (const element of contents.bytesContents ?? []) writer.bytes(BYTES_CONTENTS_TAG, element);
      continue;
    }
    const { tag, pack } = PACKED_FIELDS[name];
    const elements = contents[name];
    if (elements && elements.length > 0) writer.bytes(tag, pack(elements));
  }
  writer.close(begin);
}
