import { createServer } from 'node:net';

/** Range of ports to try. It lies below Linux's ephemeral ports, which another test can be given at any moment. */
const MIN_PORT = 12_000;
const MAX_PORT = 32_000;

/** Ports that this process has tried. One that was found free is not given twice, although nothing listens there yet. */
const given = new Set<number>();

/** Finds a free TCP port on loopback, for programs that cannot pick one themselves. */
export async function findFreePort(): Promise<number> {
  for (;;) {
    const port = MIN_PORT + Math.floor(Math.random() * (MAX_PORT - MIN_PORT));
    if (given.has(port)) continue;
    given.add(port);
    if (await isFree(port)) return port;
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  const isBound = await new Promise<boolean>((resolve) => {
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => resolve(true));
  });
  if (isBound) await new Promise((resolve) => server.close(resolve));
  return isBound;
}
