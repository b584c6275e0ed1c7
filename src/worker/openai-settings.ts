import type { EngineSettings } from '../client/engine/engine-settings.js';
import type { Log } from '../core/ports.js';

/** Settings for an OpenAI-compatible server: its URL, key and limits, and the models to serve. */
export interface OpenaiSettings extends EngineSettings {
  /** Timeout for the first byte of a response, in ms. */
  readonly timeoutMs: number;
  /** Timeout between two bytes of a response, in ms. */
  readonly idleTimeoutMs: number;
  /** Models to serve in addition to those in `embeddingModels` and `chatModels`. If empty, all listed models are served. */
  readonly models: readonly string[];
  /** Models that create embeddings, or `all`. */
  readonly embeddingModels: readonly string[] | 'all';
  /**
   * Models to serve as chat models, regardless of the type that the server reports. Without this, models for other purposes
   * than chat and embeddings are left out.
   */
  readonly chatModels?: readonly string[] | undefined;
  readonly log: Log;
}
