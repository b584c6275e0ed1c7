/**
 * Polls every 5 ms until the condition holds. A condition that throws does not hold yet: a request to a program that is just
 * starting can fail. Throws with `what`, and with the last error of the condition, when it doesn't hold in time.
 */
export async function until(
  what: string | (() => string),
  condition: () => boolean | Promise<boolean>,
  withinMs = 30_000,
): Promise<void> {
  const deadlineMs = Date.now() + withinMs;
  let cause: unknown;
  const holds = async (): Promise<boolean> => {
    try {
      return await condition();
    } catch (error) {
      cause = error;
      return false;
    }
  };
  while (!(await holds())) {
    if (Date.now() > deadlineMs) {
      const subject = typeof what === 'string' ? what : what();
      throw new Error(`timed out after ${withinMs} ms waiting until ${subject}`, { cause });
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
