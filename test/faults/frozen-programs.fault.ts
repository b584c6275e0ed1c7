import { afterAll, describe, it } from 'vitest';
import { type Running, start, startProgram, stopAll } from '../support/binary.js';
import { measureTimeUntil, startServer } from '../support/fleet.js';
import { findFreePort } from '../support/free-port.js';

/** An HTTP server whose every path is healthy and is an empty list of one model. */
const HTTP_SERVER = `
  const list = JSON.stringify({ data: [{ id: 'm', owned_by: 'test' }] });
  require('node:http').createServer((_, response) => response.end(list)).listen(Number(process.argv[1]), '127.0.0.1',
    () => console.log('listening'));
`;

afterAll(stopAll);

async function startHttpServer(port: number): Promise<Running> {
  const program = startProgram([process.execPath, '-e', HTTP_SERVER, String(port)]);
  await program.waitForOutput(/listening/);
  return program;
}

const KINDS: readonly (readonly [string, number, (port: number) => Promise<Running>, (port: number) => string[]])[] = [
  [
    'a program with --probe grpc',
    10_000,
    async (port) => {
      const worker = start([
        'worker',
        '--backend',
        'echo',
        '--cap',
        'type=chat',
        '--port',
        String(port),
        '--no-register',
      ]);
      await worker.waitForOutput(/serving on/);
      return worker;
    },
    (port) => ['register', '--id', 'r1', '--endpoint', `127.0.0.1:${port}`, '--cap', 'type=chat', '--probe', 'grpc'],
  ],
  [
    'a program with --probe http',
    15_000,
    startHttpServer,
    (port) => ['register', '--id', 'r1', '--endpoint', `127.0.0.1:${port}`, '--cap', 'type=chat', '--probe', 'http'],
  ],
  [
    'an engine',
    15_000,
    startHttpServer,
    (port) => ['worker', '--id', 'r1', '--openai', `http://127.0.0.1:${port}/v1`, '--cap', 'type=chat', '--port', '0'],
  ],
];

// Each test has a server, and only waits: they run at the same time.
describe.concurrent('a server that freezes', () => {
  it.for(KINDS)(
    'is not routed to within its time, and within 4 s again when it continues: %s',
    async ([what, limitMs, run, register]) => {
      const server = await startServer();
      const port = await findFreePort();
      const program = await run(port);
      const registrant = start([...register(port), '--server', server.url]);
      await registrant.waitForOutput(/registered /);
      for (let round = 0; round < 2; round++) {
        // At another point between two probes each time.
        await new Promise((resolve) => setTimeout(resolve, 4000 + round * 1300));
        program.child.kill('SIGSTOP');
        await measureTimeUntil(
          `${what} is not routed to`,
          limitMs,
          async () => (await server.fetchRoute()) === undefined,
        );
        program.child.kill('SIGCONT');
        await measureTimeUntil(`${what} is routed to again`, 4000, async () => (await server.fetchRoute()) === 'r1');
      }
    },
  );
});
