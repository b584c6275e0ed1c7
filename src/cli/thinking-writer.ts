import { waitForDrain } from '../client/async-waits.js';
import type { InferenceResponse } from '../inference/inference-data.js';
import { createTextReader, findReasoningOutput } from '../inference/text-response.js';
import type { CommandIo } from './command.js';
import { createColors, escapeForStream } from './output.js';

/** Creates a writer of a model's reasoning: labelled and dimmed at a terminal, nothing in a pipe. */
export function createThinkingWriter({ stdout, stdoutClosed, env }: CommandIo) {
  const readReasoning = createTextReader(findReasoningOutput);
  const { dim } = createColors(stdout, env);
  let isOpen = false;
  return {
    async write(message: InferenceResponse): Promise<void> {
      const piece = stdout.isTTY ? readReasoning(message) : undefined;
      if (piece === undefined || piece === '') return;
      const label = isOpen ? '' : 'thinking: ';
      isOpen = true;
      if (!stdout.write(dim(escapeForStream(stdout, label + piece)))) await waitForDrain(stdout, stdoutClosed);
    },
    /** Ends the reasoning with a blank line, if any was written. */
    end(): void {
      if (isOpen) stdout.write('\n\n');
      isOpen = false;
    },
  };
}
