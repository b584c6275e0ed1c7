import fc from 'fast-check';
import { expect, it } from 'vitest';
import { TeamServer } from '../support/team-server.js';

const KEYS = ['tenant', 'zone', '__proto__', 'model'];
const VALUES = ['a', 'b', 1, true, ['a'], null];
const TEXTS = ['a', 'b', '1', 'true'];

const object = fc.uniqueArray(fc.tuple(fc.constantFrom(...KEYS), fc.constantFrom<unknown[]>(...VALUES)), {
  selector: ([key]) => key,
  maxLength: 3,
});
const fleet = fc.array(fc.record({ objects: fc.array(object, { maxLength: 3 }), isReady: fc.boolean() }), {
  maxLength: 6,
});
const pair = fc.tuple(fc.constantFrom(...KEYS), fc.constantFrom(...TEXTS));
const scope = fc.uniqueArray(pair, { selector: ([key]) => key, minLength: 1, maxLength: 2 });
const queries = fc.array(fc.array(pair, { maxLength: 2 }), { minLength: 1, maxLength: 3 });

const isInScope = (
  members: readonly (readonly [string, unknown])[],
  pairs: readonly (readonly [string, string])[],
): boolean =>
  pairs.every(([key, text]) =>
    members.some(
      ([name, value]) => name === key && value !== null && typeof value !== 'object' && String(value) === text,
    ),
  );

/** Removes times and names of processes and leases. */
const normalize = (text: string): string =>
  text
    .replaceAll(/[0-9a-f]{8}-[0-9a-f-]{27}/g, 'UUID')
    .replaceAll(/"lease":"[^"]*"/g, '')
    .replaceAll(/"(now|since|last_seen|at|state_age_ms)":[\d.]+/g, '"$1":0');

it('a token of a team gets the responses of a server that holds only the objects of the team, for any fleet', async () => {
  const property = fc.asyncProperty(fleet, scope, queries, async (replicas, pairs, asked) => {
    const line = `viewer prefix=x ${pairs.map((one) => one.join('=')).join(' ')}`;
    const [whole, alone] = [await TeamServer.start({ register: ['admin'], read: [line] }), await TeamServer.start()];
    for (const [n, { objects, isReady }] of replicas.entries()) {
      const state = isReady ? 'ready' : 'unready';
      // Not Object.fromEntries: `__proto__` is an ordinary key.
      const toJson = (members: readonly (readonly [string, unknown])[]): string =>
        `{${members.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join()}}`;
      const toCapabilities = (all: typeof objects) => all.map((members) => JSON.parse(toJson(members)));
      const inScope = objects.filter((members) => isInScope(members, pairs));
      await whole.register({ id: `r${n}`, state, capabilities: toCapabilities(objects) }, 'admin');
      if (inScope.length > 0) await alone.register({ id: `r${n}`, state, capabilities: toCapabilities(inScope) });
    }
    const paths = ['/registry', '/replicas', '/replicas?replica_id=r0', '/events', '/watch'];
    for (const query of asked) {
      const search = new URLSearchParams(query);
      paths.push(`/route?${search}`, `/explain?${search}`, `/watch?${search}`);
    }
    for (const headers of [{}, { 'x-anyserve-selector': 'tenant!=a' }]) {
      const see = (server: TeamServer, token: string): Promise<unknown[]> =>
        Promise.all(
          paths.map(async (path) => {
            const { status, text } = await server.send('GET', path, token, { headers });
            return [path, status, normalize(text)];
          }),
        );
      const [ofTeam, ofAlone] = await Promise.all([see(whole, 'viewer'), see(alone, '')]);
      expect(ofTeam).toEqual(ofAlone);
    }
    await Promise.all([whole.close(), alone.close()]);
  });
  await fc.assert(property, { numRuns: Number(process.env['ANYSERVE_TEST_FUZZ_RUNS'] ?? 8) });
});
