import { writeFileSync } from 'node:fs';
import { type GgufTensor, serializeGguf } from '../../examples/llm/gguf.js';
import { createSeededRandom } from './seeded-random.js';

/** Dimensions of a model that is too small to know anything. Its architecture is that of Llama, as in most models. */
const EMBEDDING = 32;
const FEED_FORWARD = 32;
const LAYERS = 2;
const HEADS = 2;

/** GGUF's numbers for the kinds of tokens. */
const KIND = { normal: 1, unknown: 2, control: 3, byte: 6 } as const;

/** Behaviour of a tiny model. */
export interface TinyModel {
  /**
   * Sequences of tokens: each token makes its successor in the row by far the most likely. Tokens are texts with `▁` for a
   * space, bytes like `<0xC3>`, `<s>` and `</s>`, and others in angle brackets that stand for no text. The successor of the
   * last token of a row, and of any other token, is arbitrary.
   */
  readonly rows?: readonly (readonly string[])[];
  readonly chatTemplate?: string;
  /** Maximum number of tokens in its context. Default: 256. */
  readonly contextLength?: number;
}

/** Writes a model with random but reproducible weights as a GGUF file of about 140 kB. */
export function writeTinyModel(path: string, { rows = [], chatTemplate, contextLength = 256 }: TinyModel = {}): void {
  const letters = [...'▁abcdefghijklmnopqrstuvwxyz.,!?:'];
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
  const tokens = [...new Set(['<unk>', '<s>', '</s>', ...bytes, ...letters, ...rows.flat()])];
  const metadata = {
    'general.architecture': 'llama',
    'llama.context_length': contextLength,
    'llama.embedding_length': EMBEDDING,
    'llama.block_count': LAYERS,
    'llama.feed_forward_length': FEED_FORWARD,
    'llama.attention.head_count': HEADS,
    'llama.attention.layer_norm_rms_epsilon': { float: 1e-5 },
    'tokenizer.ggml.model': 'llama',
    'tokenizer.ggml.tokens': tokens,
    // The tokenizer prefers higher scores, so longer tokens win.
    'tokenizer.ggml.scores': Float32Array.from(tokens, ({ length }) => length),
    'tokenizer.ggml.token_type': Int32Array.from(tokens, getTokenKind),
    'tokenizer.ggml.unknown_token_id': 0,
    'tokenizer.ggml.bos_token_id': 1,
    'tokenizer.ggml.eos_token_id': 2,
    ...(chatTemplate !== undefined && { 'tokenizer.chat_template': chatTemplate }),
  };
  writeFileSync(path, serializeGguf(metadata, createTensors(tokens, rows)));
}

function getTokenKind(token: string): number {
  if (token === '<unk>') return KIND.unknown;
  if (token.startsWith('<0x')) return KIND.byte;
  return token.startsWith('<') ? KIND.control : KIND.normal;
}

function createTensors(tokens: readonly string[], rows: TinyModel['rows'] & object): GgufTensor[] {
  const random = createSeededRandom(1);
  const createRandomWeights = (name: string, shape: readonly [number, number], size = 0.1): GgufTensor => {
    const data = Float32Array.from({ length: shape[0] * shape[1] }, () => (random.fraction() - 0.5) * size);
    return { name, shape, encoding: 'F32', data };
  };
  const createOnes = (name: string): GgufTensor => {
    return { name, shape: [EMBEDDING], encoding: 'F32', data: new Float32Array(EMBEDDING).fill(1) };
  };
  const embeddings = createRandomWeights('token_embd.weight', [EMBEDDING, tokens.length], 2);
  const output = createRandomWeights('output.weight', [EMBEDDING, tokens.length], 0.2);
  const getTokenWeights = ({ data }: GgufTensor, token: string): Float32Array => {
    const start = tokens.indexOf(token) * EMBEDDING;
    return data.subarray(start, start + EMBEDDING);
  };
  for (const row of rows) {
    for (const [at, token] of row.slice(1).entries()) {
      // The more similar a token's output weights are to the embedding of its predecessor, the likelier the token.
      const before = getTokenWeights(embeddings, row[at] as string);
      const after = getTokenWeights(output, token);
      after.set(after.map((weight, i) => weight + (before[i] as number)));
    }
  }
  const layers = Array.from({ length: LAYERS }, (_, at) => [
    createOnes(`blk.${at}.attn_norm.weight`),
    createRandomWeights(`blk.${at}.attn_q.weight`, [EMBEDDING, EMBEDDING]),
    createRandomWeights(`blk.${at}.attn_k.weight`, [EMBEDDING, EMBEDDING]),
    createRandomWeights(`blk.${at}.attn_v.weight`, [EMBEDDING, EMBEDDING]),
    createRandomWeights(`blk.${at}.attn_output.weight`, [EMBEDDING, EMBEDDING]),
    createOnes(`blk.${at}.ffn_norm.weight`),
    createRandomWeights(`blk.${at}.ffn_gate.weight`, [EMBEDDING, FEED_FORWARD]),
    createRandomWeights(`blk.${at}.ffn_up.weight`, [EMBEDDING, FEED_FORWARD]),
    createRandomWeights(`blk.${at}.ffn_down.weight`, [FEED_FORWARD, EMBEDDING]),
  ]);
  return [embeddings, ...layers.flat(), createOnes('output_norm.weight'), output];
}
