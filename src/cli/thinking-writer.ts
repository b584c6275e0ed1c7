import { drained } from '../client/async-waits.js';
import type { InferenceAnswer } from '../wire/inference-data.js';
import { reasoningOutput, textReader } from '../wire/text-answer.js';
import type { CommandIo } from './command.js';
import { coloursFor, textFor } from './output.js';

/** Shows a model's thinking at a terminal, labelled and dimmed, before its answer. Programs that read a pipe get none. */
export function thinkingWriter({ stdout, unread, env }: CommandIo) {
  const read = textReader(reasoningOutput);
  const { dim } = coloursFor(stdout, env);
  let isOpen = false;
  return {
    async write(part: InferenceAnswer): Promise<void> {
      const piece = stdout.isTTY ? read(part) : undefined;
      if (piece === undefined || piece === '') return;
      const label = isOpen ? '' : 'thinking: ';
      isOpen = true;
      if (!stdout.write(dim(textFor(stdout, label + piece)))) await drained(stdout, unread);
    },
    /** Ends the thinking, once. */
    end(): void {
      if (isOpen) stdout.write('\n\n');
      isOpen = false;
    },
  };
}
