import type { InferenceCall, InferenceCaller, InferenceResult, InferenceStream } from './inference-caller.js';

/** An inference caller that was loaded, and the pool of its channels. */
export interface LoadedCaller {
  readonly caller: InferenceCaller;
  /** Removes the channel to an endpoint whose replica has left. */
  dropEndpoint(endpoint: string): void;
}

/** Makes inference calls. */
export type GrpcCalls = Pick<InferenceCaller, 'infer' | 'stream' | 'close'>;

/**
 * Loads the code for gRPC with the first call that needs it. It takes a tenth of the memory of a gateway, and most fleets have no
 * replicas that speak gRPC behind one.
 */
export class LazyInferenceCaller implements GrpcCalls {
  readonly #load: () => Promise<LoadedCaller>;
  #loaded: Promise<LoadedCaller> | undefined;

  constructor(load: () => Promise<LoadedCaller>) {
    this.#load = load;
  }

  async infer(call: InferenceCall): Promise<InferenceResult> {
    const { caller } = await this.#get();
    return caller.infer(call);
  }

  async stream(call: InferenceCall, streamTimeoutMs: number): Promise<InferenceStream> {
    const { caller } = await this.#get();
    return caller.stream(call, streamTimeoutMs);
  }

  dropEndpoint(endpoint: string): void {
    this.#withLoaded((loaded) => loaded.dropEndpoint(endpoint));
  }

  close(): void {
    this.#withLoaded(({ caller }) => caller.close());
  }

  /** Does something with a caller that was loaded, or will be in a moment. A call reports if it can't be loaded. */
  #withLoaded(use: (loaded: LoadedCaller) => void): void {
    this.#loaded?.then(use, () => {});
  }

  #get(): Promise<LoadedCaller> {
    this.#loaded ??= this.#load();
    return this.#loaded;
  }
}
