import {
  ModelInferRequest_InferInputTensor as InputTensor,
  ModelInferRequest,
  ModelInferResponse,
  ModelStreamInferResponse,
  ModelInferRequest_InferRequestedOutputTensor as RequestedOutput,
} from './gen/open_inference.js';
import type { AnswerMessage, PartMessage, RequestMessage, TensorContents, TensorMessage } from './inference-message.js';
import { fieldBytes, LARGE_BYTES, type MessageWriter, writtenMessage } from './message-writer.js';
import { PACKED_FIELDS } from './packed-elements.js';

/** Of a field whose values are bytes: its number, and that a length leads each. */
const TAGS = { tensor: 42, contents: 42, requestedOutput: 50, rawInput: 58, rawOutput: 50, inferResponse: 18 } as const;
const BYTES_CONTENTS_FIELD = 8;

/** A field of typed contents, ready to be written: packed numbers are one value, byte strings one each. */
interface ContentsValues {
  readonly tag: number;
  readonly values: readonly Uint8Array[];
}

/**
 * The bytes of a request: byte for byte what the generated code writes, which does the small fields here, too. Tensors
 * are copied once.
 */
export function encodeRequest(message: RequestMessage): Buffer {
  return writtenMessage((writer) => {
    const { modelName, modelVersion, id, parameters } = message;
    const others = { modelName, modelVersion, id, parameters, inputs: [], outputs: [], rawInputContents: [] };
    ModelInferRequest.encode(others, writer.small);
    for (const input of message.inputs) writeTensor(writer, input);
    for (const output of message.outputs) {
      RequestedOutput.encode(output, writer.small.uint32(TAGS.requestedOutput).fork()).join();
    }
    for (const raw of message.rawInputContents) writer.bytes(TAGS.rawInput, raw);
  });
}

/** The bytes of an answer, as {@link encodeRequest} makes them. */
export function encodeAnswer(message: AnswerMessage): Buffer {
  return writtenMessage((writer) => {
    const { modelName, modelVersion, id, parameters } = message;
    const others = { modelName, modelVersion, id, parameters, outputs: [], rawOutputContents: [] };
    ModelInferResponse.encode(others, writer.small);
    for (const output of message.outputs) writeTensor(writer, output);
    for (const raw of message.rawOutputContents) writer.bytes(TAGS.rawOutput, raw);
  });
}

/** The bytes of a part of an answer. */
export function encodePart({ errorMessage, inferResponse }: PartMessage): Buffer {
  return writtenMessage((writer) => {
    ModelStreamInferResponse.encode({ errorMessage, inferResponse: undefined }, writer.small);
    if (inferResponse) writer.bytes(TAGS.inferResponse, encodeAnswer(inferResponse));
  });
}

/** Inputs and outputs are written alike. What is large must not stand in a fork, which would move it for its length. */
function writeTensor(writer: MessageWriter, { name, datatype, shape, parameters, contents }: TensorMessage): void {
  const others = { name, datatype, shape, parameters, contents: undefined };
  const fields = contents && valuesOf(contents);
  let contentsBytes = 0;
  if (fields) for (const { values } of fields) for (const { length } of values) contentsBytes += fieldBytes(length);
  const isLarge = contentsBytes >= LARGE_BYTES;
  writer.small.uint32(TAGS.tensor);
  if (isLarge) {
    const head = InputTensor.encode(others).finish();
    writer.small.uint32(head.length + fieldBytes(contentsBytes)).raw(head);
  } else InputTensor.encode(others, writer.small.fork());
  if (fields) {
    writer.small.uint32(TAGS.contents).uint32(contentsBytes);
    for (const { tag, values } of fields) for (const value of values) writer.bytes(tag, value);
  }
  if (!isLarge) writer.small.join();
}

function valuesOf(contents: TensorContents): ContentsValues[] {
  const fields: ContentsValues[] = [];
  for (const [field, { name, pack }] of PACKED_FIELDS) {
    const elements = contents[name];
    if (elements && elements.length > 0) fields.push({ tag: (field << 3) | 2, values: [pack(elements)] });
  }
  const { bytesContents } = contents;
  if (bytesContents && bytesContents.length > 0) {
    fields.push({ tag: (BYTES_CONTENTS_FIELD << 3) | 2, values: bytesContents });
  }
  return fields;
}
