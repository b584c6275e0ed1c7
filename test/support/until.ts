/**
 * Polls every 5 ms until the condition holds. A condition that throws does not hold yet: a request to a program that is just
 * starting can fail. Throws with `what`, and with the last error of the condition, when it doesn't hold in time. The last check
 * begins after that time: otherwise a slow check, or a pause of this process on a busy machine, would count as a delay of what
 * is tested.
 */
export async function until(
  what: string | (() => string),
  condition: () => boolean | Promise<boolean>,
  withinMs = 30_000,
): Promise<void> {
  const deadlineMs = performance.now() + withinMs;
  let cause: unknown;
  const holds = async (): Promise<boolean> => {
    try {
      return await condition();
    } catch (error) {
      cause = error;
      return false;
    }
  };
  for (let isOver = false; !(await holds()); ) {
    if (isOver) {
      const subject = typeof what === 'string' ? what : what();
      throw new Error(`timed out after ${withinMs} ms waiting until ${subject}`, { cause });
    }
    isOver = performance.now() > deadlineMs;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
