import { AnyserveError, type ErrorCode, getErrorMessage } from '../core/errors.js';
import type { Clock } from '../core/ports.js';
import { quote, quoteList } from '../core/quoting.js';
import { coerceToSpec } from '../inference/coerce-to-spec.js';
import { isDatatype } from '../inference/datatype.js';
import type { ModelMetadataResponse_TensorMetadata as TensorMetadata } from '../inference/gen/open_inference.js';
import type { Tensor } from '../inference/inference-data.js';
import { INFERENCE_SERVICE } from '../inference/service-definition.js';
import type { TensorSpec } from '../inference/tensor-spec.js';
import { isPlainValue, type TensorValue, toTensor } from '../inference/tensor-value.js';
import type { ActiveCalls } from './cancellation.js';
import type { CallOptions, InferenceChannel } from './inference-channel.js';

/** How long a model may take to say what it declares. */
const ANSWER_TIMEOUT_MS = 3000;

/** The inputs a model declares, by name; undefined for one whose datatype is none of the protocol's. */
export type InputSpecs = ReadonlyMap<string, TensorSpec | undefined>;

/** What a model declares that says nothing of its inputs. */
export const NO_INPUT_SPECS: InputSpecs = new Map();

/** What a model was asked, for all who want to know it. */
interface Question {
  readonly answer: Promise<InputSpecs>;
  /** The answer, once it is there. */
  specs: InputSpecs | undefined;
}

/**
 * Asks models for their inputs. An answer is kept for as long as the channel; a failure that may pass is not,
 * and until then counts as saying nothing: it is only a hint, and the channel is connected before it is asked.
 */
export class DeclaredInputs {
  readonly #clock: Clock;
  readonly #underway: ActiveCalls;
  readonly #questions = new WeakMap<InferenceChannel, Map<string, Question>>();

  constructor(clock: Clock, underway: ActiveCalls) {
    this.#clock = clock;
    this.#underway = underway;
  }

  /** What a model declares: at once, where it is known. Rejects with the reason of a call that is cancelled. */
  of(channel: InferenceChannel, model: string, version: string, call: CallOptions): InputSpecs | Promise<InputSpecs> {
    let questions = this.#questions.get(channel);
    if (!questions) {
      questions = new Map();
      this.#questions.set(channel, questions);
    }
    const key = `${version.length} ${version}${model}`;
    const question = questions.get(key) ?? this.#ask(channel, model, version, questions, key);
    return question.specs ?? this.#waitFor(question, `${channel.endpoint}: model ${quote(model)}`, call);
  }

  #ask(
    channel: InferenceChannel,
    model: string,
    version: string,
    questions: Map<string, Question>,
    key: string,
  ): Question {
    const cancellation = this.#underway.begin();
    channel.acquire();
    const deadlineEpochMs = this.#clock.epochMs() + ANSWER_TIMEOUT_MS;
    const answer = ask(channel, model, version, { deadlineEpochMs, cancellation }).finally(() => {
      channel.release();
      cancellation.end();
    });
    const question: Question = { answer, specs: undefined };
    questions.set(key, question);
    answer.then(
      (specs) => {
        question.specs = specs;
      },
      () => questions.delete(key),
    );
    return question;
  }

  /** Waits for an answer no longer than the call lasts. Others may wait for it, so a caller that goes leaves it running. */
  #waitFor({ answer }: Question, who: string, { deadlineEpochMs, cancellation }: CallOptions): Promise<InputSpecs> {
    return new Promise((resolve, reject) => {
      const cancelTimer = this.#clock.schedule(deadlineEpochMs - this.#clock.epochMs(), () =>
        reject(new AnyserveError('deadline_exceeded', `${who} did not say in time what it declares`)),
      );
      const settle = (specs: InputSpecs): void => {
        cancelTimer();
        resolve(specs);
      };
      answer.then(settle, () => settle(NO_INPUT_SPECS));
      if (!cancellation) return;
      cancellation.stop = () => {
        cancelTimer();
        reject(cancellation.reason);
      };
    });
  }
}

/**
 * The tensor of an input: of a plain value what is declared, of any other what it says. Throws `usage`, because one that
 * does not hold is the caller's mistake.
 */
export function createInputTensor(model: string, name: string, value: TensorValue, declared: InputSpecs): Tensor {
  const label = `input ${quote(name)}`;
  if (isPlainValue(value) && declared.size > 0 && !declared.has(name)) {
    const there = quoteList([...declared.keys()]);
    throw new AnyserveError('usage', `model ${quote(model)} has no ${label}; its inputs: ${there}`);
  }
  const spec = declared.get(name);
  try {
    return spec && isPlainValue(value) ? coerceToSpec(label, value, spec) : toTensor(label, value);
  } catch (cause) {
    throw new AnyserveError('usage', getErrorMessage(cause), { cause });
  }
}

async function ask(channel: InferenceChannel, name: string, version: string, call: CallOptions): Promise<InputSpecs> {
  try {
    const { inputs } = await channel.call(INFERENCE_SERVICE.modelMetadata, { name, version }, call);
    return new Map(inputs.map((input) => [input.name, specFromMetadata(input)]));
  } catch (error) {
    if (!(error instanceof AnyserveError) || !SAYS_NOTHING.has(error.code)) throw error;
    return NO_INPUT_SPECS;
  }
}

function specFromMetadata({ name, datatype, shape }: TensorMetadata): TensorSpec | undefined {
  return isDatatype(datatype) ? { name, datatype, shape: shape.map(Number) } : undefined;
}

/** How a server that has no metadata answers, now and later. */
const SAYS_NOTHING: ReadonlySet<ErrorCode> = new Set(['unimplemented', 'not_found']);
