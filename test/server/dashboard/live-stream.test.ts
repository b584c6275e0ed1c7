import type { EventSourceMessage } from 'eventsource-parser';
import { describe, expect, it } from 'vitest';
import { LiveStream, type StreamState } from '../../../src/server/dashboard/live-stream.js';
import { RefusedError } from '../../../src/server/dashboard/server-api.js';
import { ManualClock } from '../../support/manual-clock.js';
import { until } from '../../support/until.js';

/** A connection that the test sends bytes on. */
interface Connection {
  readonly lastEventId: string | undefined;
  send(text: string): void;
  end(): void;
}

/** A stream of a server that the test plays. `refuse` makes the next requests fail. */
function openStream(lastEventId?: string) {
  const clock = new ManualClock();
  const connections: Connection[] = [];
  const events: EventSourceMessage[] = [];
  const states: StreamState[] = [];
  const server: { refuse: Error | undefined } = { refuse: undefined };
  const stream = new LiveStream({
    path: '../watch',
    clock,
    random: { fraction: () => 1 },
    lastEventId,
    onEvent: (event) => events.push(event),
    onState: (state) => states.push(state),
    api: {
      send: async (_path, { headers, signal }) => {
        if (server.refuse) throw server.refuse;
        const body = new TransformStream<Uint8Array>();
        const writer = body.writable.getWriter();
        const ignore = (): void => {};
        signal.addEventListener('abort', () => writer.abort(signal.reason).catch(ignore));
        connections.push({
          lastEventId: headers?.['last-event-id'],
          send: (text) => void writer.write(new TextEncoder().encode(text)).catch(ignore),
          end: () => void writer.close().catch(ignore),
        });
        return new Response(body.readable);
      },
    },
  });
  const ended = stream.run();
  const kinds = (): string => states.map(({ kind }) => kind).join(' ');
  return { stream, ended, clock, connections, events, states, kinds, server };
}

/** Waits until there are this many connections, and returns the last one. */
async function untilConnected(connections: readonly Connection[], count: number): Promise<Connection> {
  await until(`there are ${count} connections`, () => connections.length === count);
  return connections[count - 1] as Connection;
}

describe('a live stream', () => {
  it('passes events on, in any pieces', async () => {
    const { stream, connections, events, kinds } = openStream();
    const connection = await untilConnected(connections, 1);
    const text = 'id: e-1\nevent: put\ndata: {"ä":1}\n\n: comment\n\nevent: synced\ndata: {}\n\n';
    for (const character of text) connection.send(character);
    await until('both are there', () => events.length === 2);
    expect(events).toEqual([
      { id: 'e-1', event: 'put', data: '{"ä":1}' },
      { id: undefined, event: 'synced', data: '{}' },
    ]);
    expect(kinds()).toBe('connecting live');
    stream.close();
  });

  it('continues after the last event when the server has ended it', async () => {
    const { stream, clock, connections, events, states } = openStream();
    const first = await untilConnected(connections, 1);
    first.send('id: e-7\nevent: put\ndata: {}\n\n');
    await until('it is there', () => events.length === 1);
    first.end();
    await until('it is lost', () => states.at(-1)?.kind === 'lost');
    expect(states.at(-1)).toEqual({ kind: 'lost', reason: 'the server ended the stream' });
    clock.advance(500);
    expect((await untilConnected(connections, 2)).lastEventId).toBe('e-7');
    expect(stream.lastEventId).toBe('e-7');
    stream.close();
  });

  it('begins after an event that is known', async () => {
    const { stream, connections } = openStream('e-3');
    expect((await untilConnected(connections, 1)).lastEventId).toBe('e-3');
    stream.close();
  });

  it('waits twice as long after each failure, up to 8 s', async () => {
    const { stream, clock, states, server, connections } = openStream();
    (await untilConnected(connections, 1)).end();
    server.refuse = new Error('no network');
    const delays: number[] = [];
    for (let lost = 1; lost <= 7; lost++) {
      await until(
        'it is lost',
        () => states.filter(({ kind }) => kind === 'lost').length === lost && clock.nextDelayMs > 0,
      );
      delays.push(clock.nextDelayMs);
      clock.advance(clock.nextDelayMs);
    }
    expect(delays).toEqual([500, 1000, 2000, 4000, 8000, 8000, 8000]);
    stream.close();
  });

  it('notices silence, which comments end', async () => {
    const { stream, clock, connections, states, kinds } = openStream();
    const connection = await untilConnected(connections, 1);
    await until('it is live', () => states.at(-1)?.kind === 'live');
    for (let n = 0; n < 5; n++) {
      clock.advance(14_000);
      const pending = clock.pending().length;
      connection.send(':\n\n');
      // The watchdog starts again when the comment was read.
      await until('it was read', () => clock.pending().length === pending && clock.nextDelayMs === 15_000);
    }
    expect(kinds()).toBe('connecting live');
    clock.advance(15_000);
    await until('it is lost', () => states.at(-1)?.kind === 'lost');
    expect(states.at(-1)).toEqual({ kind: 'lost', reason: 'the server sent nothing for 15 s' });
    stream.close();
  });

  it('ends when the token is refused, and tries again after any other refusal', async () => {
    const { ended, clock, connections, states, server, kinds } = openStream();
    (await untilConnected(connections, 1)).end();
    server.refuse = new RefusedError(503, 'draining');
    await until('it is lost', () => states.at(-1)?.kind === 'lost');
    clock.advance(500);
    await until('it is lost again', () => kinds() === 'connecting live lost lost');
    server.refuse = new RefusedError(401, 'unknown token');
    await until('there is a delay', () => clock.nextDelayMs > 0);
    clock.advance(8000);
    await ended;
    expect(states.at(-1)).toEqual({ kind: 'refused', reason: 'unknown token' });
  });

  it('reports nothing after it was closed', async () => {
    const { stream, ended, connections, kinds } = openStream();
    await untilConnected(connections, 1);
    await until('it is live', () => kinds() === 'connecting live');
    stream.close();
    await ended;
    expect(kinds()).toBe('connecting live');
  });
});
