import { expect, it } from 'vitest';
import { asInstanceId } from '../../../src/core/ids.js';
import type { Registration } from '../../../src/core/replica.js';
import {
  parseRecord,
  type RegistrationRecord,
  replaceCordon,
  serializeRecord,
} from '../../../src/store/etcd/registration-record.js';
import { registration, replica } from '../../support/replicas.js';

const plain: RegistrationRecord = {
  registration: registration('digest', replica('r1', { model: 'a' })),
  change: 0,
  committed: undefined,
};
const full: RegistrationRecord = {
  registration: {
    ...registration('digest', replica('r"ä/1', { model: 'a', n: 1 }, { type: 'chat' })),
    instance: { id: asInstanceId('p'), seq: 7, startedMs: 5 },
    state: 'suspect',
    sinceEpochMs: 1_700_000_000_000,
    cordon: { cordoned: true, reason: 'why', atMs: 3 },
    weight: 5,
  } satisfies Registration,
  change: 4,
  committed: 12n,
};

it.each([plain, full])('reads what it writes', (record) => {
  const parsed = parseRecord(serializeRecord(record), (one) => one);
  expect(parsed).toEqual(record);
});

it.each([
  ['nonsense', 'it is not a JSON object'],
  ['{}', 'its format is null, and this version reads 1.0'],
  ['{"format":"2.0"}', 'its format is "2.0", and this version reads 1.0'],
  ['{"format":"1.0","replica_id":"r1"}', 'a member is missing or has another type'],
])('says why it cannot read %s', (text, problem) => {
  expect(parseRecord(text, (one) => one)).toBe(problem);
});

it('keeps unknown members and the spelling of numbers when it replaces a cordon', () => {
  const text = '{"format":"1.9","replica_id":"r1","capabilities":[{"ctx":1.0}],"new":{"a":[1e3]},"cordon":null}';
  expect(replaceCordon(text, { cordoned: false, reason: '', atMs: 8 })).toBe(
    '{"format":"1.9","replica_id":"r1","capabilities":[{"ctx":1.0}],"new":{"a":[1e3]},"cordon":{"cordoned":false,"reason":"","at":8}}',
  );
});
