import { ModelInferRequest_ParametersEntry as ParametersEntry } from './gen/open_inference.js';
import type {
  AnswerMessage,
  ParametersMessage,
  PartMessage,
  RequestMessage,
  TensorContents,
  TensorMessage,
} from './inference-message.js';
import { MessageWriter } from './message-writer.js';
import { PACKED_FIELDS } from './packed-elements.js';

/**
 * The bytes of a request: byte for byte what the generated code writes, which writes the parameters here, too. Tensors are
 * copied once. The numbers here and in the decoder are tags: eight times the field's number, and 2 where a length comes next.
 */
export function encodeRequest(message: RequestMessage): Buffer {
  const writer = MessageWriter.begin();
  writeCommon(writer, message);
  for (const input of message.inputs) writeTensor(writer, input);
  for (const { name, parameters } of message.outputs) {
    const output = writer.open(50);
    writer.text(10, name);
    writeParameters(writer, 18, parameters);
    writer.close(output);
  }
  for (const raw of message.rawInputContents) writer.bytes(58, raw);
  return writer.finish();
}

/** The bytes of an answer, as {@link encodeRequest} makes them. */
export function encodeAnswer(message: AnswerMessage): Buffer {
  const writer = MessageWriter.begin();
  writeAnswer(writer, message);
  return writer.finish();
}

/** The bytes of a part of an answer. */
export function encodePart({ errorMessage, inferResponse }: PartMessage): Buffer {
  const writer = MessageWriter.begin();
  writer.text(10, errorMessage);
  if (inferResponse) {
    const response = writer.open(18);
    writeAnswer(writer, inferResponse);
    writer.close(response);
  }
  return writer.finish();
}

function writeAnswer(writer: MessageWriter, message: AnswerMessage): void {
  writeCommon(writer, message);
  for (const output of message.outputs) writeTensor(writer, output);
  for (const raw of message.rawOutputContents) writer.bytes(50, raw);
}

/** The fields that a request and an answer have alike. */
function writeCommon(writer: MessageWriter, message: RequestMessage | AnswerMessage): void {
  writer.text(10, message.modelName);
  writer.text(18, message.modelVersion);
  writer.text(26, message.id);
  writeParameters(writer, 34, message.parameters);
}

function writeParameters(writer: MessageWriter, tag: number, parameters: ParametersMessage): void {
  if (parameters.size === 0) return;
  for (const [key, value] of parameters) writer.bytes(tag, ParametersEntry.encode({ key, value }).finish());
}

/** Inputs and outputs are written alike. */
function writeTensor(writer: MessageWriter, { name, datatype, shape, parameters, contents }: TensorMessage): void {
  const tensor = writer.open(42);
  writer.text(10, name);
  writer.text(18, datatype);
  if (shape.length > 0) {
    const sizes = writer.open(26);
    for (const size of shape) writer.varint(size);
    writer.close(sizes);
  }
  writeParameters(writer, 34, parameters);
  if (contents) writeContents(writer, contents);
  writer.close(tensor);
}

/** Packed numbers are one value, byte strings one each. Fields are written in the order in which they stand; nearly always there is one. */
function writeContents(writer: MessageWriter, contents: TensorContents): void {
  const begin = writer.open(42);
  for (const name of Object.keys(contents) as (keyof TensorContents)[]) {
    if (name === 'bytesContents') {
      for (const element of contents.bytesContents ?? []) writer.bytes(66, element);
      continue;
    }
    const { tag, pack } = PACKED_FIELDS[name];
    const elements = contents[name];
    if (elements && elements.length > 0) writer.bytes(tag, pack(elements));
  }
  writer.close(begin);
}
