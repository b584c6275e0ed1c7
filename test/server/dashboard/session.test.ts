import { describe, expect, it } from 'vitest';
import { listAttention } from '../../../src/server/dashboard/attention.js';
import { EventLog, MAX_EVENTS } from '../../../src/server/dashboard/event-log.js';
import { LiveFleet } from '../../../src/server/dashboard/live-fleet.js';
import { RefusedError } from '../../../src/server/dashboard/server-api.js';
import { type ServerInfo, toServerInfo } from '../../../src/server/dashboard/server-info.js';
import { Session } from '../../../src/server/dashboard/session.js';
import { fleetRow } from '../../support/fleet-rows.js';
import { ManualClock } from '../../support/manual-clock.js';
import { until } from '../../support/until.js';

const SNAPSHOT = 'event: snapshot\ndata: {"warming":false}\n\n';
const SYNCED = 'id: w-1\nevent: synced\ndata: {}\n\n';
const put = (id: string): string =>
  `event: put\ndata: {"replica_id":"${id}","endpoint":"${id}:1","capabilities":[],"state":"ready","since":1,"last_seen":1}\n\n`;

const INFO = { now: 1_700_000_100, started: 1_700_000_000, version: '1.0.0', store: 'memory', problems: [] };

/** A session with a server that the test plays. */
function startSession() {
  const clock = new ManualClock();
  const writers = new Map<string, WritableStreamDefaultWriter<Uint8Array>>();
  const paths: string[] = [];
  const seenIds: (readonly string[])[] = [];
  const server: { refuse: Error | undefined } = { refuse: undefined };
  let draws = 0;
  const session = new Session({
    clock,
    random: { fraction: () => 1 },
    onChange: () => draws++,
    api: {
      send: async (path, { signal }) => {
        if (server.refuse) throw server.refuse;
        const body = new TransformStream<Uint8Array>();
        const writer = body.writable.getWriter();
        signal.addEventListener('abort', () => writer.abort(signal.reason).catch(() => {}));
        paths.push(path);
        writers.set(path.includes('watch') ? 'watch' : 'events', writer);
        return new Response(body.readable);
      },
      readServerInfo: async () => toServerInfo(INFO),
      readSeen: async (ids) => {
        seenIds.push(ids);
        return ids.map((id) => ({ replica_id: id, last_seen: 99 }));
      },
    },
  });
  session.start();
  const send = (name: 'watch' | 'events', text: string): void =>
    void writers.get(name)?.write(new TextEncoder().encode(text));
  const end = (name: 'watch' | 'events'): void => void writers.get(name)?.close();
  return { session, clock, send, end, paths, seenIds, server, countDraws: () => draws };
}

const untilKind = (session: Session, kind: string): Promise<void> =>
  until(`the connection is ${kind}`, () => session.connection.kind === kind);

describe('a session', () => {
  it('follows the fleet and its history, and draws at most every 100 ms', async () => {
    const { session, clock, send, paths, countDraws } = startSession();
    await untilKind(session, 'live');
    expect(paths).toEqual(['../watch', `../events?follow=1&limit=${MAX_EVENTS}`]);
    clock.advance(100);
    const before = countDraws();
    send('watch', `${SNAPSHOT}${put('a')}${put('b')}${SYNCED}`);
    send('events', 'id: e-1\nevent: registered\ndata: {"seq":1,"at":5,"kind":"registered","replica_id":"a"}\n\n');
    await until('all is there', () => session.fleet.rows.size === 2 && session.log.events.length === 1);
    expect(countDraws()).toBe(before);
    clock.advance(100);
    expect(countDraws()).toBe(before + 1);
    session.stop();
  });

  it('knows the time at the server', async () => {
    const { session, clock } = startSession();
    await until('it knows the server', () => session.server !== undefined);
    expect(session.nowMs).toBe(INFO.now * 1000);
    clock.advance(1000);
    expect(session.nowMs).toBe(INFO.now * 1000 + 1000);
    session.stop();
  });

  it('asks when the visible replicas were last seen, and a few others', async () => {
    const { session, clock, send, seenIds } = startSession();
    await untilKind(session, 'live');
    const ids = Array.from({ length: 450 }, (_, n) => `r${n}`);
    send('watch', `${SNAPSHOT}${ids.map(put).join('')}${SYNCED}`);
    await until('all are there', () => session.fleet.rows.size === 450);
    session.seen.watch(['r400']);
    for (let polls = 1; polls <= 4; polls++) {
      clock.advance(5000);
      await until('it has asked', () => seenIds.length === polls);
    }
    expect(seenIds.map((asked) => [asked.length, asked[0], asked[1]])).toEqual([
      [201, 'r400', 'r0'],
      [201, 'r400', 'r200'],
      [50, 'r400', 'r401'],
      [201, 'r400', 'r0'],
    ]);
    await until('it has the answer', () => session.fleet.rows.get('r449')?.seenMs === 99_000);
    session.stop();
  });

  it('says since when the connection is lost, and that it is found again', async () => {
    const { session, clock, end, server } = startSession();
    await untilKind(session, 'live');
    server.refuse = new Error('no network');
    end('watch');
    await untilKind(session, 'lost');
    const lostAtMs = clock.nowMs();
    expect(session.connection).toMatchObject({ sinceMs: session.nowMs, reason: 'the server ended the stream' });
    clock.advance(500);
    await until('it has tried again', () => clock.nextDelayMs > 0 && clock.nowMs() === lostAtMs + 500);
    server.refuse = undefined;
    for (let step = 0; step < 8 && session.connection.kind === 'lost'; step++) {
      clock.advance(500);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await untilKind(session, 'found');
    clock.advance(6000);
    expect(session.connection.kind).toBe('live');
    session.stop();
  });

  it('ends when the token is refused', async () => {
    const { session, end, clock, server } = startSession();
    await untilKind(session, 'live');
    server.refuse = new RefusedError(401, 'unknown token');
    end('events');
    await untilKind(session, 'lost');
    clock.advance(500);
    await untilKind(session, 'refused');
  });

  it('continues after a pause with the events that are known', async () => {
    const { session, send, paths } = startSession();
    await untilKind(session, 'live');
    send('watch', `${SNAPSHOT}${put('a')}${SYNCED}`);
    await until('it is there', () => session.fleet.isSynced);
    session.stop();
    session.start();
    await until('it has connected again', () => paths.length === 4);
    expect([...session.fleet.rows.keys()]).toEqual(['a']);
    session.stop();
  });
});

describe('the events', () => {
  const event = (seq: number): string => JSON.stringify({ seq, at: seq, kind: 'registered' });

  it('are newest first, each once, and not endless', () => {
    const log = new EventLog();
    for (const seq of [1, 2, 2, 1, 3]) log.add(`e-${seq}`, event(seq));
    expect(log.events.map(({ seq }) => seq)).toEqual([3, 2, 1]);
    for (let seq = 4; seq < MAX_EVENTS + 100; seq++) log.add(`e-${seq}`, event(seq));
    expect([log.events.length, log.events[0]?.seq]).toEqual([MAX_EVENTS, MAX_EVENTS + 99]);
    log.add('e-1', 'nonsense');
    expect(log.events.length).toBe(MAX_EVENTS);
  });

  it('of another process of the server replace the earlier ones', () => {
    const log = new EventLog();
    log.add('e-5', event(5));
    log.add('f-1', event(1));
    expect(log.events.map(({ seq }) => seq)).toEqual([1]);
  });
});

describe('attention', () => {
  const listTexts = (parts: { fleet?: LiveFleet; log?: EventLog; server?: Partial<ServerInfo>; nowMs?: number }) => {
    const { fleet = new LiveFleet(() => 0), log = new EventLog(), server, nowMs = 0 } = parts;
    return listAttention({ fleet, log, server: { ...toServerInfo(INFO), ...server }, nowMs }).map(({ text }) => text);
  };

  it('is not needed by a fleet that works', () => {
    const fleet = new LiveFleet(() => 0);
    fleet.apply({ kind: 'put', row: fleetRow('a', [{ model: 'm' }]) });
    expect(listTexts({ fleet })).toEqual([]);
  });

  it('is needed by models without a ready replica, of which three are named', () => {
    const fleet = new LiveFleet(() => 0);
    for (const n of [1, 2, 3, 4, 5]) {
      fleet.apply({ kind: 'put', row: fleetRow(`r${n}`, [{ model: `m${n}` }], { state: 'draining' }) });
    }
    expect(listTexts({ fleet })).toEqual([
      'No replica of m1 is ready: 1 registered (draining).',
      'No replica of m2 is ready: 1 registered (draining).',
      'No replica of m3 is ready: 1 registered (draining).',
      '2 more models have no ready replica.',
    ]);
  });

  it('is needed by models that nobody offers any more, until somebody dismisses each', () => {
    const fleet = new LiveFleet(() => 0);
    const models = ['m1', 'm2', 'm3', 'm4', 'm5'].map((model) => ({ model }));
    fleet.apply({ kind: 'put', row: fleetRow('r1', models) });
    fleet.apply({ kind: 'removed', replicaId: 'r1', reason: 'closed' });
    const list = () => listAttention({ fleet, log: new EventLog(), server: undefined, nowMs: 0 });
    expect(list().map(({ text }) => text)).toEqual([
      'Nobody offers m5 any more. The last was r1: closed.',
      'Nobody offers m4 any more. The last was r1: closed.',
      'Nobody offers m3 any more. The last was r1: closed.',
      '2 more models have no replica any more.',
    ]);
    fleet.forgetLostOffers(list()[3]?.lostOffers ?? []);
    fleet.forgetLostOffers(list()[0]?.lostOffers ?? []);
    expect(list().map(({ text }) => text)).toEqual([
      'Nobody offers m4 any more. The last was r1: closed.',
      'Nobody offers m3 any more. The last was r1: closed.',
    ]);
  });

  it('is needed by the server: problems first, then self-preservation', () => {
    expect(listTexts({ server: { problems: ["etcd can't be used"], isInSelfPreservation: true } })).toEqual([
      "etcd can't be used",
      'Self-preservation: many replicas fell silent at once, so they are kept as suspects.',
    ]);
  });

  it('is needed by conflicts and refusals of the last 5 minutes', () => {
    const log = new EventLog();
    log.add('e-1', '{"seq":1,"at":1000,"kind":"id_conflict","replica_id":"r1"}');
    log.add('e-2', '{"seq":2,"at":2000,"kind":"id_conflict","replica_id":"r1"}');
    log.add('e-3', '{"seq":3,"at":2000,"kind":"registration_refused","reason":"full"}');
    expect(listTexts({ log, nowMs: 3000 })).toEqual([
      'The id r1 keeps changing owner: are two processes registering it?',
      'A registration was refused in the last 5 minutes: full.',
    ]);
    expect(listTexts({ log, nowMs: 302_001 })).toEqual([]);
  });
});
