import { request } from 'node:http';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { EngineClient } from '../../../src/http/engine-client/engine-client.js';
import { clock } from '../../../src/system.js';
import {
  cutBytes,
  type GeneratedResponse,
  generatedCuts,
  generatedResponse,
  recordCall,
} from '../../support/engine-responses.js';
import { startTcpServer, type TcpServer } from '../../support/tcp-server.js';

/** The response that the server sends, in packets. */
let packets: readonly Buffer[] = [];
let endsConnection = false;
let server: TcpServer;
const client = new EngineClient({ clock });

beforeAll(async () => {
  server = await startTcpServer((socket) => {
    void (async () => {
      for (const packet of packets) {
        socket.write(packet);
        // Lets the client read the packet by itself, usually.
        await new Promise((resolve) => setImmediate(resolve));
      }
      if (endsConnection) socket.end();
    })();
  });
});

afterAll(async () => {
  client.close();
  await server.close();
});

interface Received {
  readonly status: number | undefined;
  readonly reason: string | undefined;
  readonly headers: readonly string[];
  readonly body: Buffer;
}

async function receive(): Promise<Received> {
  const call = recordCall(client, server.origin);
  await call.ended;
  if (call.failure) throw new Error(call.failure.message);
  const [head] = call.heads;
  return { status: head?.status, reason: head?.reason, headers: head?.headers ?? [], body: Buffer.concat(call.pieces) };
}

/** Receives the response with the parser of Node's `http`. */
function receiveWithNode(): Promise<Received> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ port: server.port, host: '127.0.0.1', agent: false }, (response) => {
      const pieces: Buffer[] = [];
      response.on('data', (piece: Buffer) => pieces.push(piece));
      response.on('error', reject);
      response.on('end', () => {
        const { statusCode: status, statusMessage: reason, rawHeaders: headers } = response;
        resolve({ status, reason, headers, body: Buffer.concat(pieces) });
      });
    });
    outgoing.on('error', reject).end();
  });
}

/** Receives the response with undici, which decodes Latin-1 headers in another way. */
async function receiveWithFetch(): Promise<Pick<Received, 'status' | 'body'>> {
  const response = await fetch(server.origin, { redirect: 'manual' });
  return { status: response.status, body: Buffer.from(await response.arrayBuffer()) };
}

/** undici fails on an interim response that it has not asked for, and on a 304 with a length. */
function isReadableByUndici({ bytes, status }: GeneratedResponse): boolean {
  return !bytes.toString('latin1').startsWith('HTTP/1.1 10') && status !== 304;
}

it('a valid response is the same as for node:http and for undici', async () => {
  let compared = 0;
  await fc.assert(
    fc.asyncProperty(generatedResponse, generatedCuts, async (response, cuts) => {
      packets = cutBytes(response.bytes, cuts.slice(0, 4));
      endsConnection = response.framing === 'until_close';
      const received = await receive();
      expect(received).toEqual(await receiveWithNode());
      if (!isReadableByUndici(response)) return;
      compared++;
      expect({ status: received.status, body: received.body }).toEqual(await receiveWithFetch());
    }),
    { numRuns: 200 },
  );
  expect(compared).toBeGreaterThan(20);
});
