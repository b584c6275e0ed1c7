import { afterEach } from 'vitest';

/** Returns a function that closes what it gets after the test in which it is called: the last one first. */
export function closeAfterEach(): <T extends { close(): unknown }>(started: T) => T {
  const open: { close(): unknown }[] = [];
  afterEach(async () => {
    for (const each of open.splice(0).reverse()) await each.close();
  });
  return (started) => {
    open.push(started);
    return started;
  };
}
