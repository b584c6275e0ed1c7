import { AnyserveError } from '../core/errors.js';
import type { Parameters } from '../inference/inference-data.js';
import { clock } from '../system.js';
import type { Arguments, CommandIo } from './command.js';
import { createTextWriter, formatJsonLine } from './inference-output.js';
import { ModelClient } from './model-client.js';
import { createOpeningMessages, readRequestParameters, type TextMessage } from './request-parameters.js';
import { ResponseRecord } from './response-record.js';
import { createThinkingWriter } from './thinking-writer.js';

/** A conversation with a model. All of it travels with each turn, so that any replica can answer the next. */
export class Conversation {
  readonly #model: string;
  readonly #client: ModelClient;
  readonly #io: CommandIo;
  readonly #parameters: Parameters;
  readonly #version: string | undefined;
  #opening: readonly TextMessage[];
  readonly #json: boolean;
  #messages: readonly TextMessage[];

  /** Throws `usage`. */
  constructor(model: string, args: Arguments, io: CommandIo) {
    this.#model = model;
    this.#io = io;
    this.#parameters = readRequestParameters(args);
    this.#version = args.text('model-version');
    this.#json = args.flag('json');
    this.#opening = createOpeningMessages(args);
    this.#messages = this.#opening;
    this.#client = new ModelClient(model, args, io);
  }

  /**
   * Says something, and prints the answer as it comes. When `enough` is aborted, the answer ends where it is, and what has
   * come counts; a turn that fails is no part of the conversation.
   */
  async turn(content: string, enough: AbortSignal): Promise<void> {
    const asked: readonly TextMessage[] = [...this.#messages, { role: 'user', content }];
    const record = new ResponseRecord(clock, true);
    try {
      await this.#answer(asked, record, enough);
    } catch (error) {
      if (!enough.aborted) throw error;
    }
    if (enough.aborted && !record.text) return;
    if (record.text === undefined) {
      throw new AnyserveError('internal', `model ${JSON.stringify(this.#model)} answers without a text`);
    }
    this.#messages = [...asked, { role: 'assistant', content: record.text }];
  }

  /** Forgets what was said, but for what the model was told first. */
  reset(): void {
    this.#messages = this.#opening;
  }

  /** The system message: how the model is told to answer; undefined when there is none. */
  get system(): string | undefined {
    return this.#opening[0]?.content;
  }

  /** Replaces the system message; what was said stays. */
  set system(content: string) {
    const said = this.#messages.slice(this.#opening.length);
    this.#opening = [{ role: 'system', content }];
    this.#messages = [...this.#opening, ...said];
  }

  /** Ends the answer under way, and every connection. */
  close(): Promise<void> {
    return this.#client.close();
  }

  async #answer(messages: readonly TextMessage[], record: ResponseRecord, enough: AbortSignal): Promise<void> {
    const { interrupted, stdoutClosed, stdout } = this.#io;
    const inputs = { messages: JSON.stringify(messages) };
    const signal = AbortSignal.any([enough, interrupted, stdoutClosed]);
    const options = {
      parameters: this.#parameters,
      version: this.#version,
      orWhole: true,
      signal,
      maxAnswerBytes: this.#client.maxMessageBytes,
    };
    const text = createTextWriter(this.#io);
    const thinking = this.#json ? undefined : createThinkingWriter(this.#io);
    try {
      await this.#client.call(async (client, stopSpinner) => {
        let replica: Pick<typeof client, 'endpoint' | 'replicaId'> = client;
        try {
          for await (const part of client.inferStream(this.#model, inputs, options)) {
            stopSpinner();
            const piece = record.add(part);
            await thinking?.write(part);
            if (piece !== '') thinking?.end();
            replica = { endpoint: client.endpoint, replicaId: client.replicaId };
            if (!this.#json && record.text !== undefined) await text.write(piece);
          }
        } catch (error) {
          const isBroken = error instanceof AnyserveError && record.text !== undefined;
          if (this.#json && isBroken) stdout.write(formatJsonLine(record.json(replica, error)));
          throw error;
        }
        if (this.#json && record.text !== undefined) stdout.write(formatJsonLine(record.json(client)));
      });
    } finally {
      thinking?.end();
      text.end();
    }
  }
}
