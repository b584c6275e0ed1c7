import { UpstreamError } from '../inference/openai-errors.js';
import type { Json, JsonObject } from '../json/json-value.js';

/** Fields that we add to requests and that some servers reject. A rejected request is retried once without them. */
const OPTIONAL_REQUEST_FIELDS = ['stream_options', 'encoding_format'];

/** Sends requests with the optional fields that the server accepts for the model of the request. */
export class OptionalFields {
  /** Rejected optional fields, by model. */
  readonly #rejectedFields = new Map<Json | undefined, ReadonlySet<string>>();
  /** Models for which the server has accepted all optional fields. */
  readonly #modelsWithAllFields = new Set<Json | undefined>();

  /**
   * Sends a body without the optional fields that this model's server has rejected. If the server rejects the request, sends
   * it once more without any optional field in two cases: the error names such a field, or its status can mean one and the
   * server has never accepted them all for this model.
   */
  async sendAccepted<T>(body: JsonObject, send: (body: JsonObject) => Promise<T>): Promise<T> {
    const model = body.get('model');
    const rejected = this.#rejectedFields.get(model);
    const acceptedBody = new Map([...body].filter(([name]) => !rejected?.has(name)));
    const optionalFields = OPTIONAL_REQUEST_FIELDS.filter((name) => acceptedBody.has(name));
    try {
      const result = await send(acceptedBody);
      if (optionalFields.length > 0) this.#modelsWithAllFields.add(model);
      return result;
    } catch (error) {
      if (!(error instanceof UpstreamError) || optionalFields.length === 0) throw error;
      const isNamed = optionalFields.some((name) => error.body.includes(name));
      const canReferToField = [400, 422, 501].includes(error.status) && !this.#modelsWithAllFields.has(model);
      if (!isNamed && !canReferToField) throw error;
      const reducedBody = new Map([...acceptedBody].filter(([name]) => !optionalFields.includes(name)));
      const result = await send(reducedBody).catch((retryError) => {
        throw isNamed || !(retryError instanceof UpstreamError) ? retryError : error;
      });
      this.#rejectedFields.set(model, new Set([...(rejected ?? []), ...optionalFields]));
      return result;
    }
  }
}
