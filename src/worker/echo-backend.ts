import { App } from './app.js';
import type { Backend } from './backend.js';

/** A model that answers with what it was given, each input as an output of the same name: for trying things out. */
export function createEchoBackend(): Backend {
  return new App().capability({ type: 'echo' }, (inputs) => inputs);
}
