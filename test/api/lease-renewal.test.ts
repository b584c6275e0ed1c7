import { describe, expect, it } from 'vitest';
import { parseRenewal, parseRenewedCordon, serializeRenewal, serializeRenewed } from '../../src/api/lease-renewal.js';
import { parseRegistration } from '../../src/api/registration.js';
import { serializeValidationIssues } from '../../src/api/validation-issues.js';

describe('parseRenewal', () => {
  it.each([
    ['', undefined],
    ['  ', undefined],
    ['{}', undefined],
    ['{"state":null,"load":null,"queue":3}', undefined],
    ['{"state":"ready"}', 'ready'],
    ['{"state":"unready"}', 'unready'],
    ['{"state":"draining"}', 'draining'],
  ])('parses %j with the state %j', (body, state) => {
    expect(parseRenewal(body)).toEqual({ kind: 'renewal', state });
  });

  it.each([
    ['{"state":"suspect"}', "Input should be 'ready', 'unready' or 'draining'"],
    ['{"state":1}', "Input should be 'ready', 'unready' or 'draining'"],
    ['[]', 'valid dictionary'],
    ['{"state"', 'JSON decode error'],
  ])('rejects %j', (body, message) => {
    const outcome = parseRenewal(body);
    expect(outcome.kind === 'invalid' && serializeValidationIssues(outcome.issues)).toContain(message);
  });
});

describe('the load in a renewal', () => {
  const LOADS = [
    { running: 3, waiting: 0, limit: 16 },
    { running: 0, waiting: 1_000_000_000, limit: undefined },
  ];

  it.each(LOADS)('is parsed as it was serialized: %j', (load) => {
    for (const report of [{ state: 'ready', seq: 7, load } as const, { state: 'draining', load } as const]) {
      const body = serializeRenewal(report);
      expect(parseRenewal(body)).toEqual({ kind: 'renewal', ...report });
      // With a space, the body is none of those that need no parser.
      expect(parseRenewal(` ${body}`)).toEqual(parseRenewal(body));
    }
  });

  it.each([
    ['3', 'dict_type', ['body', 'load']],
    ['[]', 'dict_type', ['body', 'load']],
    ['{"running":1}', 'missing', ['body', 'load', 'waiting']],
    ['{"running":-1,"waiting":0}', 'value_error', ['body', 'load', 'running']],
    ['{"running":1.5,"waiting":0}', 'value_error', ['body', 'load', 'running']],
    ['{"running":1,"waiting":"0"}', 'value_error', ['body', 'load', 'waiting']],
    ['{"running":1,"waiting":0,"limit":1000000001}', 'value_error', ['body', 'load', 'limit']],
  ])('is refused: %s', (load, type, loc) => {
    const outcome = parseRenewal(`{"state":"ready","load":${load}}`);
    expect(outcome).toMatchObject({ kind: 'invalid', issues: [{ type, loc }] });
  });
});

describe('the cordon in a renewal and its response', () => {
  const cordon = { cordoned: true, reason: 'é"', atMs: 1_700_000_000_000 };

  it('is parsed as it was serialized', () => {
    expect(parseRenewal(serializeRenewal({ state: 'ready', seq: 1, cordon }))).toMatchObject({ seq: 1, cordon });
    expect(parseRenewedCordon(serializeRenewed(cordon))).toEqual(cordon);
    expect(parseRenewedCordon('{"status":"renewed"}')).toBeUndefined();
  });

  it.each([
    '',
    '[]',
    'null',
    '{"cordon":null}',
    '{"cordon":{"cordoned":1,"at":1}}',
    '{"cordon":{"cordoned":true,"at":"1"}}',
    '{"cordon":{"cordoned":true,"at":1e300}}',
    '{"cordon":{"cordoned":true,"at":1,"reason":"\\ud800"}}',
    `{"cordon":{"cordoned":true,"at":1,"reason":"${'x'.repeat(257)}"}}`,
  ])('is ignored by the replica if servers would refuse it: %.60s', (body) => {
    expect(parseRenewedCordon(body)).toBeUndefined();
  });
});

describe('the TTL of a lease', () => {
  const parseTtl = (ttl: string) =>
    parseRegistration(`{"replica_id":"a","endpoint":"e","capabilities":[],"ttl":${ttl}}`);

  it.each([
    ['null', undefined],
    ['1', 1000],
    ['15', 15_000],
    ['2.5', 2500],
    ['3600', 3_600_000],
  ])('converts %s seconds to %s ms', (ttl, ttlMs) => {
    expect(parseTtl(ttl)).toMatchObject({ kind: 'registration', ttlMs });
  });

  it.each(['0', '0.5', '-1', '3601', '"15"', 'true', '{}'])('rejects %s', (ttl) => {
    expect(parseTtl(ttl)).toMatchObject({ kind: 'invalid', issues: [{ loc: ['body', 'ttl'] }] });
  });
});
