import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createApiResources } from '../../src/server/api-resources.js';
import { Readiness } from '../../src/server/readiness.js';
import { ManualClock } from '../support/manual-clock.js';
import { TeamServer } from '../support/team-server.js';
import { until } from '../support/until.js';

const TOKENS = [
  'admin',
  'team-a prefix=alpha- tenant=alpha',
  'team-b prefix=beta- tenant=beta',
  'both-a prefix=x- tenant=alpha',
];

let teams: TeamServer;

beforeEach(async () => {
  teams = await TeamServer.start({ register: TOKENS });
});

afterEach(() => teams.close());

const offer = (tenant: unknown, more: object = {}): object => ({ tenant, model: `${String(tenant)}-llm`, ...more });
const getDetail = ({ text }: { readonly text: string }): string =>
  JSON.parse(/\{"detail".*/.exec(text)?.[0] ?? '{}').detail;

/** Registers the replicas of another team, which the tests try to see. */
async function registerForeign(): Promise<void> {
  await teams.register({ id: 'alpha-1', capabilities: [offer('alpha')], load: { running: 7 } }, 'team-a');
  await teams.register({ id: 'alpha-2', endpoint: 'http://alpha.test:1', capabilities: [offer('alpha')] }, 'team-a');
  await teams.register({ id: 'alpha-bad', capabilities: [{}] }, 'team-a');
  await teams.send('PUT', '/replicas/alpha-1/cordon', 'team-a', { body: { reason: 'alpha disk' } });
}

const BOTH = [offer('alpha'), offer('beta')];
const SEARCHES = [
  '',
  '?model=beta-llm&zone=z',
  '?model=alpha-llm',
  '?tenant=alpha',
  '?model=alpha-lln',
  '?replica_id=alpha-1',
  '?replica_id=shared',
  '?follow',
  '?kind=removed',
];
const HEADERS = [
  {},
  { 'x-anyserve-selector': 'model=alpha-llm' },
  { 'x-anyserve-selector': 'tenant!=alpha,zone' },
  { 'x-anyserve-selector': 'tenant!=alpha' },
  { 'x-anyserve-prefer': 'model=alpha-llm', 'x-anyserve-exclude': 'beta-1' },
  { 'x-anyserve-protocol': 'http' },
];
const VARIABLE_HEADERS = new Set(['date', 'x-anyserve-registry', 'content-length']);

/** Removes times, and the names of processes, leases and registrations. */
const normalize = (text: string): string =>
  text
    .replaceAll(/[0-9a-f]{8}-[0-9a-f-]{27}/g, 'UUID')
    .replaceAll(/"lease":"[^"]*"/g, '')
    .replaceAll(/"(now|started|since|last_seen|at|lived_ms|silent_ms|state_age_ms)":[\d.]+/g, '"$1":0');

describe('a token of a team', () => {
  const resources = createApiResources({
    clock: new ManualClock(),
    events: { emit: () => {} },
    heartbeatMs: 1000,
    warmingMs: 0,
    readiness: new Readiness(),
    deadPeers: { watch: () => () => {} },
  });

  it.each(resources.filter(({ access }) => access === 'read' || access === 'open').map(({ path }) => path as string))(
    'gets the responses of %s of a server that has only its objects',
    async (path) => {
      const alone = await TeamServer.start({ register: TOKENS });
      await registerForeign();
      for (const one of [teams, alone]) {
        await one.register({ id: 'shared', capabilities: one === alone ? [offer('beta')] : BOTH }, 'admin');
        await one.register({ id: 'beta-1', capabilities: [offer('beta', { zone: 'z' })] }, 'team-b');
      }
      const see = async (one: TeamServer, search: string, headers: object): Promise<unknown> => {
        const { status, text, headers: sent } = await one.send('GET', `${path}${search}`, 'team-b', { headers });
        return [search, headers, status, normalize(text), [...sent].filter(([name]) => !VARIABLE_HEADERS.has(name))];
      };
      const seeAll = async (one: TeamServer): Promise<unknown[]> => {
        const all: unknown[] = [];
        // One search after the other, because a server explains few queries at once.
        for (const search of SEARCHES)
          all.push(...(await Promise.all(HEADERS.map((headers) => see(one, search, headers)))));
        return all;
      };
      const [seen, expected] = await Promise.all([seeAll(teams), seeAll(alone)]);
      expect(seen).toEqual(expected);
      const texts = JSON.stringify((seen as unknown[][]).map(([, , , text]) => text));
      expect(texts).not.toMatch(/alpha-(2|bad)|alpha\.test|alpha disk/);
      await alone.close();
    },
  );

  it('is not enough for the resources that are about the whole registry, and the table says which can be written to', () => {
    const others = resources.filter(({ access }) => access === 'register' || access === 'whole');
    expect(others.map(({ path, access }) => `${access} ${path}`)).toEqual([
      'register /^\\/leases\\/[^/]+$/',
      'register /register',
      'register /^\\/replicas\\/[^/]+\\/cordon$/',
    ]);
  });

  it('sees the objects of its team, also of a replica that has others', async () => {
    await registerForeign();
    await teams.register({ id: 'shared', capabilities: BOTH }, 'admin');
    await teams.register({ id: 'beta-1', capabilities: [offer('beta', { gpu: 1 })] }, 'team-b');
    const { replicas } = JSON.parse((await teams.send('GET', '/registry', 'team-b')).text);
    expect(replicas).toEqual([
      { replica_id: 'shared', endpoint: 'shared.test:1', capabilities: [offer('beta')] },
      { replica_id: 'beta-1', endpoint: 'beta-1.test:1', capabilities: [offer('beta', { gpu: 1 })] },
    ]);
    const route = await teams.send('GET', '/route?gpu=1', 'team-b');
    expect([route.status, JSON.parse(route.text).replica_id]).toEqual([200, 'beta-1']);
    expect((await teams.send('GET', '/route?tenant=alpha', 'team-b')).status).toBe(404);
    const all = JSON.parse((await teams.send('GET', '/registry', 'admin')).text).replicas;
    expect(all.map(({ replica_id: id }: { replica_id: string }) => id)).toEqual(['alpha-2', 'shared', 'beta-1']);
  });

  it('sees a change of its objects in a watch, and none of others', async () => {
    const { lease } = await teams.register({ id: 'shared', capabilities: [offer('alpha'), offer('beta')] }, 'admin');
    const update = (...capabilities: object[]) =>
      teams.send('PUT', `/leases/${lease}`, 'admin', { body: { state: 'ready', capabilities } });
    const first = await teams.send('GET', '/watch', 'team-b');
    const [, position = ''] = [...first.text.matchAll(/id: (\S+)/g)].at(-1) as unknown as string[];
    expect(first.text.match(/event: \w+/g)).toEqual(['event: snapshot', 'event: put', 'event: synced']);
    const resume = () => teams.send('GET', '/watch', 'team-b', { headers: { 'last-event-id': position } });
    await expectStatus(() => update(offer('alpha', { n: 1 }), offer('beta')), 200);
    expect((await resume()).text.match(/event: \w+/g)).toEqual(['event: synced']);
    await expectStatus(() => update(offer('alpha', { n: 1 })), 200);
    const { text } = await resume();
    expect(text).toContain('data: {"replica_id":"shared","reason":"no-longer-matches"}');
    const events = JSON.parse((await teams.send('GET', '/events', 'team-b')).text).events;
    expect(events.map(({ seq, kind, reason }: Record<string, unknown>) => [seq, kind, reason])).toEqual([
      [1, 'registered', undefined],
      [2, 'removed', 'no-longer-matches'],
    ]);
  });
});

/** Repeats a request until it has a status: a lease can change its capabilities once a second. */
async function expectStatus(send: () => Promise<{ readonly status: number }>, status: number): Promise<void> {
  await until(`the status is ${status}`, async () => (await send()).status === status);
}

describe('a registration with a token of a team', () => {
  it.each<[object[], string]>([
    [[offer('alpha'), offer('beta')], 'object 2 has "tenant":"beta"'],
    [[{ model: 'm' }], 'object 1 has no text, number or boolean as "tenant"'],
    [[offer(['alpha'])], 'object 1 has no text, number or boolean as "tenant"'],
    [[offer('Alpha')], 'object 1 has "tenant":"Alpha"'],
  ])('of %j has a 403 that names the missing pair', async (capabilities, problem) => {
    const response = await teams.register({ id: 'alpha-1', capabilities }, 'team-a');
    const detail = `this token may only register capability objects with "tenant":"alpha": ${problem}`;
    expect([response.status, getDetail(response)]).toEqual([403, detail]);
    expect(teams.server.registry.replicas()).toEqual([]);
  });

  it('needs the pairs in each change under the lease', async () => {
    const { lease, status } = await teams.register({ id: 'alpha-1', capabilities: [offer('alpha')] }, 'team-a');
    expect(status).toBe(200);
    const body = { state: 'ready', capabilities: [offer('beta')] };
    const refused = await teams.send('PUT', `/leases/${lease}`, 'team-a', { body });
    expect([refused.status, getDetail(refused)]).toEqual([
      403,
      'this token may only register capability objects with "tenant":"alpha": object 1 has "tenant":"beta"',
    ]);
    const accepted = { state: 'ready', capabilities: [offer('alpha', { n: 1 })] };
    expect((await teams.send('PUT', `/leases/${lease}`, 'team-a', { body: accepted })).status).toBe(200);
  });

  it('does not take an id from another team, and learns only that it is taken', async () => {
    await teams.register(
      { id: 'x-1', endpoint: 'alpha.test:1', capabilities: [offer('beta'), offer('alpha')] },
      'admin',
    );
    const response = await teams.register({ id: 'x-1', capabilities: [offer('alpha')] }, 'both-a');
    expect([response.status, getDetail(response)]).toEqual([403, 'the id "x-1" is taken']);
    expect(teams.server.registry.replicas()[0]?.endpoint).toBe('alpha.test:1');
  });

  it('replaces a registration of the same team', async () => {
    await teams.register({ id: 'alpha-1', capabilities: [offer('alpha')] }, 'team-a');
    expect((await teams.register({ id: 'alpha-1', capabilities: [offer('alpha', { n: 2 })] }, 'team-a')).status).toBe(
      200,
    );
  });

  it('is shown in /events of the team that it was refused to', async () => {
    await teams.register({ id: 'alpha-1', capabilities: [{}] }, 'team-a');
    const countRefused = async (token: string): Promise<number> =>
      JSON.parse((await teams.send('GET', '/events?kind=registration_refused', token)).text).events.length;
    expect([await countRefused('team-a'), await countRefused('team-b'), await countRefused('admin')]).toEqual([
      1, 0, 1,
    ]);
  });
});

describe('a token of another team', () => {
  it('cannot renew, change or release a lease', async () => {
    const { lease } = await teams.register({ id: 'alpha-1', capabilities: [offer('alpha')] }, 'team-a');
    const body = { state: 'draining' };
    expect((await teams.send('PUT', `/leases/${lease}`, 'team-b', { body })).status).toBe(404);
    expect((await teams.send('DELETE', `/leases/${lease}`, 'team-b')).status).toBe(404);
    expect(teams.server.registry.replicas().length).toBe(1);
  });

  it('can only cordon ids that it can register and see', async () => {
    await teams.register({ id: 'alpha-1', capabilities: [offer('alpha')] }, 'team-a');
    await teams.register({ id: 'x-1', capabilities: [offer('beta')] }, 'admin');
    const cordon = async (id: string, token: string) =>
      (await teams.send('PUT', `/replicas/${id}/cordon`, token, { body: {} })).status;
    expect(await cordon('alpha-1', 'team-b')).toBe(403);
    expect(await cordon('x-1', 'both-a')).toBe(404);
    expect(await cordon('alpha-1', 'team-a')).toBe(200);
  });
});

describe('reading', () => {
  it('needs a token as soon as a register token is limited', async () => {
    const { status, text } = await teams.send('GET', '/registry');
    expect([status, JSON.parse(text).detail]).toEqual([
      401,
      'this request needs a read token or a register token: send Authorization: Bearer TOKEN',
    ]);
    expect((await teams.send('GET', '/health')).status).toBe(200);
  });

  it('is limited by the pairs of a read token, and the read token file decides about a token in both files', async () => {
    const both = await TeamServer.start({
      register: ['admin', 'team-a prefix=alpha- tenant=alpha'],
      read: ['viewer-b prefix=beta- tenant=beta', 'team-a'],
    });
    await both.register({ id: 'shared', capabilities: [offer('alpha'), offer('beta')] }, 'admin');
    const list = async (token: string) =>
      JSON.parse((await both.send('GET', '/registry', token)).text).replicas[0].capabilities;
    expect(await list('viewer-b')).toEqual([offer('beta')]);
    expect(await list('team-a')).toEqual([offer('alpha'), offer('beta')]);
    expect((await both.register({ id: 'alpha-1', capabilities: [offer('beta')] }, 'team-a')).status).toBe(403);
    await both.close();
  });
});
