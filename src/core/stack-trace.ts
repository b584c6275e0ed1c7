import { getErrorMessage } from './errors.js';

/** Maximum number of causes in a stack trace. A chain of causes can be circular. */
const MAX_CAUSES = 8;

/** Returns the stack trace of a thrown value and of its causes. */
export function formatStack(thrown: unknown): string {
  const stacks: string[] = [];
  let error = thrown;
  while (error !== undefined && stacks.length <= MAX_CAUSES) {
    stacks.push(error instanceof Error ? (error.stack ?? getErrorMessage(error)) : getErrorMessage(error));
    error = error instanceof Error ? error.cause : undefined;
  }
  return stacks.join('\ncaused by ');
}
