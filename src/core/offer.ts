import { type Capability, getPairValue } from './capability.js';

/** A model that a replica offers, by the pairs `model` and `type` of a capability. */
export interface Offer {
  /** Unique for each pair of model and type. */
  readonly key: string;
  /** Undefined for a capability without a model. */
  readonly model: string | undefined;
  /** Undefined for a capability without a type. */
  readonly type: string | undefined;
}

/** Returns the offers of capabilities, each once. */
export function listOffers(capabilities: readonly Capability[]): Offer[] {
  const offers = new Map<string, Offer>();
  for (const { pairs } of capabilities) {
    const [model, type] = [getPairValue('model', pairs), getPairValue('type', pairs)];
    const key = JSON.stringify([model, type]);
    offers.set(key, { key, model, type });
  }
  return [...offers.values()];
}
