import { createHash } from 'node:crypto';
import { Agent, type IncomingMessage, request as sendRequest } from 'node:http';
import { afterEach, expect, it } from 'vitest';
import { startTestGateway } from '../support/gateway.js';
import { startHttpEngine } from '../support/http-engine.js';
import { exchangeBytes } from '../support/raw-exchange.js';
import { until } from '../support/until.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Bytes of all values. Sizes around 16 KiB are sent in another way. */
const PIECES = [1, 15, 16, 17, 255, 4096, 16_367, 16_368, 16_369, 65_535, 65_536, 200_000].map((size) =>
  Buffer.from(Array.from({ length: size }, (_, index) => (index * 7 + size) % 256)),
);

/** Starts a gateway in front of an engine that sends pieces without a length, each after the previous one has been sent. */
async function startFleet(pieces: readonly Buffer[]) {
  const engine = await startHttpEngine(async (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    for (const piece of pieces) {
      await new Promise((resolve) => response.write(piece, resolve));
      sentBytes += piece.length;
    }
    response.end();
  });
  let sentBytes = 0;
  cleanups.push(() => engine.close());
  const fleet = await startTestGateway();
  cleanups.push(() => fleet.close());
  await fleet.register('a', engine.url);
  await fleet.waitForModels('m');
  return { ...fleet, getSentBytes: () => sentBytes };
}

/** Makes a call over the connection of an agent. Resolves with the head of the response. */
function call(url: string, agent: Agent): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    sendRequest(`${url}/v1/chat/completions`, { method: 'POST', agent }, resolve)
      .on('error', reject)
      .end('{"model":"m","stream":true}');
  });
}

async function readBody(response: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of response) pieces.push(piece);
  return Buffer.concat(pieces);
}

async function hashPieces(pieces: AsyncIterable<Buffer> | Iterable<Buffer>): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of pieces) hash.update(piece);
  return hash.digest('hex');
}

function createAgent(): Agent {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  cleanups.push(() => agent.destroy());
  return agent;
}

it('a body without a length arrives byte for byte, and the connection can be used again', async () => {
  const { gateway } = await startFleet(PIECES);
  const agent = createAgent();
  const ports = new Set<number | undefined>();
  for (let calls = 0; calls < 3; calls++) {
    const response = await call(gateway.url, agent);
    ports.add(response.socket.localPort);
    expect(response.headers['transfer-encoding']).toBe('chunked');
    expect((await readBody(response)).equals(Buffer.concat(PIECES))).toBe(true);
  }
  expect(ports.size).toBe(1);
});

it('a caller that pauses gets all of the body, and the engine waits for it', async () => {
  // 192 MB, of which Linux keeps up to 76 MB: it lets the receive buffer of each connection grow to 32 MB on machines with much memory.
  const values = Array.from({ length: 256 }, (_, value) => Buffer.alloc(64 * 1024, value));
  const pieces = Array.from({ length: 12 }, () => values).flat();
  const { gateway, getSentBytes } = await startFleet(pieces);
  const agent = createAgent();
  for (let calls = 0; calls < 2; calls++) {
    const before = getSentBytes();
    const response = await call(gateway.url, agent);
    let sent = -1;
    await until('the engine waits', async () => {
      const waits = sent === getSentBytes();
      sent = getSentBytes();
      await new Promise((resolve) => setTimeout(resolve, 200));
      return waits;
    });
    expect(getSentBytes() - before).toBeLessThan(96 * 1024 * 1024);
    expect(await hashPieces(response)).toBe(await hashPieces(pieces));
  }
});

it('a caller with HTTP/1.0 gets the body without chunks', async () => {
  const { gateway } = await startFleet(PIECES);
  const raw = await exchangeBytes(
    gateway.port,
    'POST /v1/chat/completions HTTP/1.0\r\nhost: localhost\r\ncontent-length: 27\r\n\r\n{"model":"m","stream":true}',
  );
  const body = raw.slice(raw.indexOf('\r\n\r\n') + 4);
  expect(Buffer.from(body, 'latin1').equals(Buffer.concat(PIECES))).toBe(true);
});
