import { createServer } from 'node:net';

/** Below the ports that the system gives to whoever does not choose, which another test may get at any moment. */
const LEAST = 12_000;
const MOST = 32_000;

/** A TCP port of loopback that nobody has right now, for what cannot choose one itself. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = LEAST + Math.floor(Math.random() * (MOST - LEAST));
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
