import { describe, expect, it } from 'vitest';
import { findOldRegistrations, findSelfTakeovers, findUnsettledIds } from './instance-checks.js';
import type { RecordedEvent, Recording, RunEvent } from './recording.js';
import { findLostTableEntries, findMissingReplicas, measureLongestOmission } from './run-checks.js';

/** A run of two servers, of which one is restarted, of a keeper, and of a table. Each line is a time in ms, a kind, and names. */
const GOOD_RUN = `
      0 server-up a
      0 server-up b
     50 connected a
     50 connected b
    100 table-connected a
    100 table-connected b
   1000 keeper-started r1 p1
   1100 put a r1 p1/1 ready
   1150 table-added r1
   1200 put b r1 p1/2 ready
  30000 server-down a
  30010 disconnected a
  30010 table-disconnected a
  32000 server-up a
  32100 connected a
  32100 table-connected a
  35000 put a r1 p1/3 ready
  90000 keeper-stopped r1 p1
  90100 removed a r1 closed
  90150 removed b r1 closed
  90160 table-removed r1
  95000 end`;

/** A run of two servers and two processes with one id, of which the second has it in the end. */
const GOOD_RACE = `
      0 server-up a
      0 server-up b
     50 connected a
     50 connected b
   1000 keeper-started r1 p1
   1000 keeper-started r1 p2
   1100 put a r1 p1/1 ready
   1100 put b r1 p2/1 ready
   1200 put a r1 p2/2 ready
   1201 superseded a r1
  60000 end`;

/** Creates a recording from lines in any order. */
function toRecording(...texts: readonly string[]): Recording {
  const lines = texts.flatMap((text) => text.trim().split('\n')).map((line) => line.trim().split(/ +/));
  const rows = lines.map(([time, kind = '', ...names]) => ({ atMs: Number(time), kind, names }));
  const events = rows.filter(({ kind }) => kind !== 'end').map(({ atMs, ...row }) => ({ ...toEvent(row), atMs }));
  return {
    events: events.sort((one, other): number => one.atMs - other.atMs) as RecordedEvent[],
    endMs: Math.max(...rows.map(({ atMs }) => atMs)),
  };
}

function toEvent({ kind, names }: { readonly kind: string; readonly names: readonly string[] }): RunEvent {
  const [first = '', second = '', third = '', fourth = ''] = names;
  if (kind === 'put') {
    const [instance = '', seq] = third.split('/');
    return {
      kind,
      server: first,
      epoch: 'e',
      id: second,
      state: fourth,
      instance: instance === '-' ? undefined : { id: instance, seq: Number(seq) },
    };
  }
  if (kind === 'removed') return { kind, server: first, epoch: 'e', id: second, reason: third };
  if (kind === 'keeper-started' || kind === 'keeper-stopped') return { kind, id: first, keeper: second };
  if (kind === 'table-added' || kind === 'table-removed') return { kind, id: first };
  return { kind, server: first, id: second } as RunEvent;
}

/** Removes the lines that contain a text. */
function omit(run: string, part: string): string {
  const lines = run.split('\n');
  const kept = lines.filter((line) => !line.includes(part));
  expect(kept.length).toBeLessThan(lines.length);
  return kept.join('\n');
}

describe('the check that servers list each replica', () => {
  it('accepts a restart after which the replica is back within 10 s', () => {
    expect(findMissingReplicas(toRecording(GOOD_RUN))).toEqual([]);
    expect(measureLongestOmission(toRecording(GOOD_RUN))).toBe(3000);
  });

  it('finds a replica that a restarted server lists late, or never as ready', () => {
    const missing = ['r1 is not ready at a from 32.000 s to 43.000 s'];
    const rest = omit(GOOD_RUN, '35000 put');
    expect(findMissingReplicas(toRecording(rest, '43000 put a r1 p1/3 ready'))).toEqual(missing);
    const unready = '35000 put a r1 p1/3 unready';
    expect(findMissingReplicas(toRecording(rest, unready, '43000 put a r1 p1/4 ready'))).toEqual(missing);
  });

  it('finds a replica that a server omits for more than 10 s', () => {
    const [gap, end] = ['50000 removed a r1 closed', '61000 put a r1 p1/4 ready'];
    expect(findMissingReplicas(toRecording(GOOD_RUN, gap, end))).toEqual([
      'r1 is not ready at a from 50.000 s to 61.000 s',
    ]);
    expect(findMissingReplicas(toRecording(GOOD_RUN, gap, '59000 put a r1 p1/4 ready'))).toEqual([]);
  });

  it('finds a moment in which no server lists a replica', () => {
    const gap = ['50000 removed a r1 closed', '50200 removed b r1 closed'];
    const back = '50500 put b r1 p1/4 ready';
    expect(findMissingReplicas(toRecording(GOOD_RUN, ...gap, back, '51000 put a r1 p1/5 ready'))).toEqual([
      'r1 is at no server from 50.200 s to 50.500 s',
    ]);
  });

  it('expects nothing of servers that are down, or have all just started', () => {
    const down = ['40000 server-down a', '40000 server-down b', '40010 disconnected a', '40010 disconnected b'];
    const up = ['60000 server-up a', '60000 server-up b', '60100 connected a', '60100 connected b'];
    const back = ['65000 put a r1 p1/4 ready', '69000 put b r1 p1/5 ready'];
    expect(findMissingReplicas(toRecording(GOOD_RUN, ...down, ...up, ...back))).toEqual([]);
  });
});

describe('the check that registrations are never replaced by older ones', () => {
  it('accepts growing numbers, and lower ones of another process or another connection', () => {
    expect(findOldRegistrations(toRecording(GOOD_RUN))).toEqual([]);
    expect(findOldRegistrations(toRecording(GOOD_RACE))).toEqual([]);
    expect(findOldRegistrations(toRecording(omit(GOOD_RUN, '35000 put'), '35000 put a r1 p1/1 ready'))).toEqual([]);
  });

  it('finds a lower number at one server, also after a removal', () => {
    const old = '50000 put a r1 p1/2 ready';
    const fault = 'registration 2 of r1 by p1 follows number 3 at a, epoch e, at 50.000 s';
    expect(findOldRegistrations(toRecording(GOOD_RUN, old))).toEqual([fault]);
    expect(findOldRegistrations(toRecording(GOOD_RUN, '49000 removed a r1 closed', old))).toEqual([fault]);
  });
});

describe('the check that no process supersedes itself', () => {
  it('accepts registrations that follow each other, and takeovers by other processes', () => {
    expect(findSelfTakeovers(toRecording(GOOD_RUN))).toEqual([]);
    expect(findSelfTakeovers(toRecording(GOOD_RUN, '50000 put a r1 p1/4 ready'))).toEqual([]);
    expect(findSelfTakeovers(toRecording(GOOD_RACE))).toEqual([]);
  });

  it('finds a takeover that the server reports while its list shows the same process', () => {
    const takeover = ['50000 put a r1 p1/4 ready', '50001 superseded a r1'];
    expect(findSelfTakeovers(toRecording(GOOD_RUN, ...takeover))).toEqual([
      'r1 at a: 1 takeovers, the last at 50.001 s, and 0 changes of the process',
    ]);
    expect(findSelfTakeovers(toRecording(GOOD_RACE, ...takeover))).toHaveLength(0);
    expect(findSelfTakeovers(toRecording(GOOD_RACE, '50000 put a r1 p2/4 ready', '50001 superseded a r1'))).toEqual([
      'r1 at a: 2 takeovers, the last at 50.001 s, and 1 changes of the process',
    ]);
  });

  it('finds a removal as superseded that is followed by the same process', () => {
    const removed = '50000 removed a r1 superseded';
    expect(findSelfTakeovers(toRecording(GOOD_RUN, removed, '50010 put a r1 p2/1 ready'))).toEqual([]);
    expect(findSelfTakeovers(toRecording(GOOD_RUN, removed, '50010 put a r1 p1/4 ready'))).toEqual([
      'r1 is superseded by its own process at a at 50.000 s',
    ]);
  });

  it('skips registrants that show no instance', () => {
    const curl = ['50000 put a r1 - ready', '50001 superseded a r1', '51000 put a r1 - ready', '51001 superseded a r1'];
    expect(findSelfTakeovers(toRecording(GOOD_RUN, ...curl))).toEqual([]);
  });
});

describe('the check that two processes of one id settle', () => {
  it('accepts one change in 30 s that all servers show, and ids of one process', () => {
    expect(findUnsettledIds(toRecording(GOOD_RACE), 20_000)).toEqual([]);
    const change = ['30000 put a r1 p1/5 ready', '31000 put b r1 p1/6 ready'];
    expect(findUnsettledIds(toRecording(GOOD_RACE, ...change), 20_000)).toEqual([]);
    expect(findUnsettledIds(toRecording(GOOD_RUN, '50000 put a r1 p1/4 ready'), 20_000)).toEqual([]);
  });

  it('finds servers that name different processes', () => {
    const split = omit(GOOD_RACE, 'put a r1 p2');
    const describe = (span: string): string => `servers list different processes of r1 ${span}`;
    expect(findUnsettledIds(toRecording(split), 20_000)).toEqual([describe('from 20.000 s to 60.000 s')]);
    const late = '30000 put a r1 p1/5 ready';
    expect(findUnsettledIds(toRecording(GOOD_RACE, late, '41000 put b r1 p1/6 ready'), 20_000)).toEqual([
      describe('from 30.000 s to 41.000 s'),
    ]);
    expect(findUnsettledIds(toRecording(GOOD_RACE, '58000 removed b r1 closed'), 20_000)).toEqual([
      describe('from 58.000 s to 60.000 s'),
    ]);
  });

  it('finds a second change within 30 s', () => {
    const there = ['25000 put a r1 p1/5 ready', '25100 put b r1 p1/6 ready'];
    const back = ['40000 put a r1 p2/5 ready', '40100 put b r1 p2/6 ready'];
    expect(findUnsettledIds(toRecording(GOOD_RACE, ...there, ...back), 20_000)).toEqual([
      'r1 changes twice at a: at 25.000 s and at 40.000 s',
      'r1 changes twice at b: at 25.100 s and at 40.100 s',
    ]);
  });
});

describe('the check that a table loses nothing', () => {
  it('accepts a removal at all servers, and one at the only server that is connected', () => {
    expect(findLostTableEntries(toRecording(GOOD_RUN))).toEqual([]);
    const listed = ['2100 put a r2 p2/1 ready', '2100 put b r2 p2/2 ready', '2200 table-added r2'];
    const removed = ['50000 removed b r2 closed', '50010 table-removed r2'];
    const stays = ['put a r1 p1/3', 'down a', 'connected a'].reduce(omit, GOOD_RUN);
    const connections = ['50 connected a', '100 table-connected a'];
    expect(findLostTableEntries(toRecording(stays, ...connections, ...listed, ...removed))).toEqual([
      'the table loses r2 at 50.010 s although a lists it',
    ]);
    const away = '40000 table-disconnected a';
    expect(findLostTableEntries(toRecording(stays, ...connections, ...listed, ...removed, away))).toEqual([]);
  });

  it('finds an entry that is lost while servers list it', () => {
    expect(findLostTableEntries(toRecording(GOOD_RUN, '50000 table-removed r1'))).toEqual([
      'the table loses r1 at 50.000 s although a lists it',
      'the table loses r1 at 50.000 s although b lists it',
      'the table is empty at 50.000 s although keepers run',
    ]);
  });

  it('finds a table that is empty because all servers have been restarted', () => {
    const down = ['40000 server-down a', '40000 server-down b', '40010 disconnected a', '40010 disconnected b'];
    const away = ['40010 table-disconnected a', '40010 table-disconnected b'];
    const up = ['42000 server-up a', '42100 connected a', '42100 table-connected a', '42110 table-removed r1'];
    expect(findLostTableEntries(toRecording(GOOD_RUN, ...down, ...away, ...up))).toEqual([
      'the table is empty at 42.110 s although keepers run',
    ]);
  });
});
