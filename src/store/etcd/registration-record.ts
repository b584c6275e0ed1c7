import { hash } from 'node:crypto';
import { parseCordon, serializeCordon } from '../../api/cordon-json.js';
import { parseInstance, serializeInstance } from '../../api/instance-json.js';
import { createListEntry, parseReplica } from '../../api/replica-json.js';
import type { Cordon } from '../../core/cordon.js';
import { asInstanceId, asLeaseId, asServerId, type LeaseId } from '../../core/ids.js';
import { MAX_WEIGHT, type Registration, type Replica, type ReplicaState } from '../../core/replica.js';
import { parseJsonObject } from '../../json/exact-json.js';
import { type Json, JsonNumber, type JsonObject, serializeJson } from '../../json/json-value.js';
import { detachStrings, internString } from '../../json/string-memory.js';

/** A registration as etcd has it. */
export interface RegistrationRecord<R extends Replica = Replica> {
  /** Its `lease` is a digest: with the lease itself, everybody who can read etcd could end the registration. */
  readonly registration: Registration<R>;
  /** Number of the changes that the owner has made to it. */
  readonly change: number;
  /** Revision at which it was committed first. Undefined in the first commit, which cannot know its own revision. */
  readonly committed: bigint | undefined;
}

/** The format that this version writes. A reader ignores records with another number before the point, and keeps unknown members. */
const FORMAT = '1.0';
const READABLE_FORMAT = /^1\.\d{1,9}$/;

/** Returns the id that stands for a lease in etcd. */
export function digestLease(lease: LeaseId): LeaseId {
  return asLeaseId(hash('sha256', lease, 'base64url'));
}

/** Serializes a record. */
export function serializeRecord({ registration, change, committed }: RegistrationRecord): string {
  const { replica, lease, owner, ownerUrl, instance, state, sinceEpochMs, cordon, weight } = registration;
  const entry = createListEntry(replica).entry.slice(1, -1);
  const members = JSON.stringify({
    lease,
    owner,
    owner_url: ownerUrl,
    state,
    since: sinceEpochMs,
    weight,
    change,
  }).slice(1, -1);
  const instanceMember = instance ? `,"instance":${serializeInstance(instance)}` : '';
  const cordonMember = cordon ? `,"cordon":${serializeCordon(cordon)}` : '';
  const committedMember = committed === undefined ? '' : `,"committed":${committed}`;
  return `{"format":"${FORMAT}",${entry},${members}${instanceMember}${cordonMember}${committedMember}}`;
}

/** Returns a record with a newer cordon. Keeps all other members, also those that a newer version has added. */
export function replaceCordon(text: string, cordon: Cordon): string {
  const members = new Map(parseJsonObject(text));
  members.set('cordon', parseJsonObject(serializeCordon(cordon)) ?? null);
  return serializeJson(members);
}

/** Parses a record. Returns why it can't be read, as a string. */
export function parseRecord<R extends Replica>(
  text: string,
  createReplica: (replica: Replica) => R,
): RegistrationRecord<R> | string {
  const json = parseJsonObject(text);
  if (!json) return 'it is not a JSON object';
  const format = json.get('format');
  if (typeof format !== 'string' || !READABLE_FORMAT.test(format)) {
    return `its format is ${serializeJson(format ?? null)}, and this version reads ${FORMAT}`;
  }
  const replica = parseReplica(json);
  const registration = replica && parseRegistrationMembers(json, createReplica(replica));
  if (!registration) return 'a member is missing or has another type';
  const committed = toCount(json.get('committed'));
  return {
    registration,
    change: toCount(json.get('change')) ?? 0,
    committed: committed === undefined ? undefined : BigInt(committed),
  };
}

const STATES: readonly ReplicaState[] = ['ready', 'unready', 'draining', 'suspect'];

function parseRegistrationMembers<R extends Replica>(json: JsonObject, replica: R): Registration<R> | undefined {
  const [lease, owner, ownerUrl] = [json.get('lease'), json.get('owner'), json.get('owner_url')];
  const state = STATES.find((known) => known === json.get('state'));
  if (typeof lease !== 'string' || typeof owner !== 'string' || state === undefined) return undefined;
  const weight = toCount(json.get('weight')) ?? 1;
  const instance = parseInstance(json.get('instance') ?? null, []);
  // As substrings, they would keep the text of the record in memory.
  const [ownLease = '', instanceId = ''] = detachStrings([lease, instance?.id ?? '']);
  return {
    lease: asLeaseId(ownLease),
    owner: asServerId(internString(owner)),
    ownerUrl: typeof ownerUrl === 'string' ? internString(ownerUrl) : undefined,
    instance: instance && { ...instance, id: asInstanceId(instanceId) },
    replica,
    state,
    sinceEpochMs: toCount(json.get('since')) ?? 0,
    cordon: parseCordon(json.get('cordon') ?? null, []),
    weight: Math.min(Math.max(weight, 1), MAX_WEIGHT),
  };
}

/** Returns a whole number that is not negative; undefined for anything else. */
export function toCount(value: Json | undefined): number | undefined {
  const number = value instanceof JsonNumber ? Number(value.text) : Number.NaN;
  return Number.isSafeInteger(number) && number >= 0 ? number : undefined;
}
