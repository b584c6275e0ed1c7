import { countUtf8Bytes } from './ids.js';
import type { Replica } from './replica.js';

/** Memory of the index and the lists for a capability object and for each of its pairs, in bytes. Measured: 100 to 500. */
const OBJECT_BYTES = 100;
const PAIR_BYTES = 200;

/**
 * Estimates the memory of a registration, in bytes: the size of its text or of its index structures, whichever is larger. Many
 * short pairs take many times the memory of their text.
 */
export function estimateRegistrationBytes({ id, endpoint, capabilities }: Replica): number {
  let text = countUtf8Bytes(id) + countUtf8Bytes(endpoint);
  let structures = 0;
  for (const { pairs, source } of capabilities) {
    text += countUtf8Bytes(source);
    structures += OBJECT_BYTES + (pairs.length / 2) * PAIR_BYTES;
  }
  return Math.max(text, structures);
}
