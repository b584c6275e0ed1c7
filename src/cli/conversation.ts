import { AnyserveError } from '../core/errors.js';
import type { Tracer } from '../core/ports.js';
import type { Parameters } from '../inference/inference-data.js';
import { clock, ids } from '../system.js';
import type { Arguments, CommandIo } from './command.js';
import { createTextWriter, formatJsonLine } from './inference-output.js';
import { ModelClient } from './model-client.js';
import { createOpeningMessages, readRequestParameters, type TextMessage } from './request-parameters.js';
import { ResponseRecord } from './response-record.js';
import { createThinkingWriter } from './thinking-writer.js';

/** A conversation with a model. Each turn sends all messages, so any replica can continue it. */
export class Conversation {
  readonly #model: string;
  readonly #client: ModelClient;
  readonly #io: CommandIo;
  readonly #parameters: Parameters;
  readonly #version: string | undefined;
  #opening: readonly TextMessage[];
  readonly #json: boolean;
  /** Key of all turns, so that they go to the same replica: it has the earlier turns in its cache. */
  readonly #affinity: string = ids.createInstanceId();
  #messages: readonly TextMessage[];

  /** Throws `usage`. */
  constructor(model: string, args: Arguments, io: CommandIo, tracer?: Tracer) {
    this.#model = model;
    this.#io = io;
    this.#parameters = readRequestParameters(args);
    this.#version = args.getText('model-version');
    this.#json = args.hasFlag('json');
    this.#opening = createOpeningMessages(args);
    this.#messages = this.#opening;
    this.#client = new ModelClient(model, args, io, { discoveryKind: 'table', pick: 'affinity', tracer });
  }

  /**
   * Sends a user message and prints the response as it arrives. When `stop` is aborted, the response ends there, and the
   * text received becomes part of the conversation. A turn that fails does not.
   */
  async sendTurn(content: string, stop: AbortSignal): Promise<void> {
    const messages: readonly TextMessage[] = [...this.#messages, { role: 'user', content }];
    const record = new ResponseRecord(clock, true);
    try {
      await this.#printResponse(messages, record, stop);
    } catch (error) {
      if (!stop.aborted) throw error;
    }
    if (stop.aborted && !record.text) return;
    if (record.text === undefined) {
      throw new AnyserveError('internal', `model ${JSON.stringify(this.#model)} returned a response without text`);
    }
    this.#messages = [...messages, { role: 'assistant', content: record.text }];
  }

  /** Whether responses are printed as JSON. */
  get isJson(): boolean {
    return this.#json;
  }

  /** Removes all messages but the system message. */
  reset(): void {
    this.#messages = this.#opening;
  }

  /** System message. Undefined when there is none. */
  get system(): string | undefined {
    return this.#opening[0]?.content;
  }

  /** Replaces the system message. The other messages stay. */
  set system(content: string) {
    const rest = this.#messages.slice(this.#opening.length);
    this.#opening = [{ role: 'system', content }];
    this.#messages = [...this.#opening, ...rest];
  }

  /** Cancels the call in flight and closes every connection. */
  close(): Promise<void> {
    return this.#client.close();
  }

  async #printResponse(messages: readonly TextMessage[], record: ResponseRecord, stop: AbortSignal): Promise<void> {
    const { interrupted, stdoutClosed, stdout } = this.#io;
    const inputs = { messages: JSON.stringify(messages) };
    const signal = AbortSignal.any([stop, interrupted, stdoutClosed]);
    const options = {
      parameters: this.#parameters,
      version: this.#version,
      affinity: this.#affinity,
      fallBackToUnary: true,
      signal,
      maxResponseBytes: this.#client.maxMessageBytes,
    };
    const text = createTextWriter(this.#io);
    const thinking = this.#json ? undefined : createThinkingWriter(this.#io);
    try {
      await this.#client.call(async (client, stopSpinner) => {
        let replica: Pick<typeof client, 'endpoint' | 'replicaId'> = client;
        try {
          for await (const message of client.inferStream(this.#model, inputs, options)) {
            stopSpinner();
            const piece = record.add(message);
            await thinking?.write(message);
            if (piece !== '') thinking?.end();
            replica = { endpoint: client.endpoint, replicaId: client.replicaId };
            if (!this.#json && record.text !== undefined) await text.write(piece);
          }
        } catch (error) {
          const isPartial = error instanceof AnyserveError && record.text !== undefined;
          if (this.#json && isPartial) stdout.write(formatJsonLine(record.toJson(replica, error)));
          throw error;
        }
        if (this.#json && record.text !== undefined) stdout.write(formatJsonLine(record.toJson(client)));
      });
    } finally {
      thinking?.end();
      text.end();
    }
  }
}
