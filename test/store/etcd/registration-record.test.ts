import { expect, it } from 'vitest';
import { SerializedReplica } from '../../../src/api/serialized-replica.js';
import { asInstanceId, asLeaseId, asServerId } from '../../../src/core/ids.js';
import type { Registration } from '../../../src/core/replica.js';
import {
  parseRecord,
  type RegistrationRecord,
  replaceCordon,
  serializeRecord,
} from '../../../src/store/etcd/registration-record.js';
import { registration, replica } from '../../support/replicas.js';
import { measureRetainedBytes } from '../../support/retained-memory.js';

const plain: RegistrationRecord = {
  registration: registration('digest', replica('r1', { model: 'a' })),
  change: 0,
  committed: undefined,
};
const full: RegistrationRecord = {
  registration: {
    ...registration('digest', replica('r"ä/1', { model: 'a', n: 1 }, { type: 'chat' })),
    ownerUrl: 'http://10.0.0.1:8080',
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

it('keeps no reference to the text that it has read', () => {
  const reason = 'x'.repeat(10_000);
  const long = { ...full.registration, lease: asLeaseId('d'.repeat(43)), owner: asServerId('o'.repeat(36)) };
  const instance = { id: asInstanceId('i'.repeat(36)), seq: 1, startedMs: 5 };
  const text = serializeRecord({ ...full, registration: { ...long, instance, cordon: undefined } });
  const texts = Array.from({ length: 100 }, (_, n) => Buffer.from(text.replace(/}$/, `,"unknown":"${n}${reason}"}`)));
  const bytes = measureRetainedBytes(() =>
    texts.map((one) => parseRecord(one.toString(), (of) => new SerializedReplica(of))),
  );
  expect(bytes / texts.length).toBeLessThan(reason.length / 2);
});
