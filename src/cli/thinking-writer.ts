import { waitForDrain } from '../client/async-waits.js';
import type { InferenceResponse } from '../inference/inference-data.js';
import { createTextReader, findReasoningOutput } from '../inference/text-response.js';
import type { CommandIo } from './command.js';
import { createColors, escapeForStream } from './output.js';

/** Shows a model's thinking at a terminal, labelled and dimmed, before its answer. Programs that read a pipe get none. */
export function createThinkingWriter({ stdout, stdoutClosed, env }: CommandIo) {
  const read = createTextReader(findReasoningOutput);
  const { dim } = createColors(stdout, env);
  let isOpen = false;
  return {
    async write(part: InferenceResponse): Promise<void> {
      const piece = stdout.isTTY ? read(part) : undefined;
      if (piece === undefined || piece === '') return;
      const label = isOpen ? '' : 'thinking: ';
      isOpen = true;
      if (!stdout.write(dim(escapeForStream(stdout, label + piece)))) await waitForDrain(stdout, stdoutClosed);
    },
    /** Ends the thinking, once. */
    end(): void {
      if (isOpen) stdout.write('\n\n');
      isOpen = false;
    },
  };
}
