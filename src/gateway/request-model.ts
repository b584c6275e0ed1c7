import { findStoredMember, STORED_MEMBERS, type StoredMember } from '../client/http-calls/stored-state.js';
import { replaceBytes } from './body-pieces.js';
import { JsonBodyScanner, type NamedModel, type RefusedBody, refuseBody } from './model-scanner.js';
import { scanMultipartBody } from './multipart-scanner.js';

/** The parts of a request body that decide where it goes. */
export interface RequestModel {
  readonly kind: 'found';
  readonly model: NamedModel;
  readonly isMultipart: boolean;
  /** Whether the response is to be a stream of events. */
  readonly isStream: boolean;
  /** Names the conversation, so that its calls can go to the same replica. */
  readonly promptCacheKey: string | undefined;
  readonly user: string | undefined;
  /** The member that refers to what one engine keeps. */
  readonly storedMember: StoredMember | undefined;
}

const PROMPT_CACHE_KEY = 'prompt_cache_key';
const USER = 'user';

const jsonScanner = new JsonBodyScanner([PROMPT_CACHE_KEY, USER, ...STORED_MEMBERS]);

/** Finds the model in a request body. Refuses one that parsers could read in different ways. `path` is the path after `/v1`. */
export function readRequestModel(
  pieces: readonly Buffer[],
  contentType: string | undefined,
  path: string,
): RequestModel | RefusedBody {
  const isMultipart = contentType !== undefined && /^\s*multipart\//i.test(contentType);
  const scanned = isMultipart ? scanMultipartBody(pieces, contentType) : jsonScanner.scan(pieces);
  if (scanned.kind === 'refused') return scanned;
  const { model } = scanned;
  if (!model) return refuseBody('the body has no "model"');
  const isJson = scanned.kind === 'json';
  return {
    kind: 'found',
    model,
    isMultipart,
    isStream: scanned.isStream,
    promptCacheKey: isJson ? getText(scanned.values.get(PROMPT_CACHE_KEY)) : undefined,
    user: isJson ? getText(scanned.values.get(USER)) : undefined,
    storedMember: isJson ? findStoredMember(path, (name) => scanned.values.get(name)) : undefined,
  };
}

/** Replaces the model in a body. The other bytes stay as they are. */
export function replaceModel(
  pieces: readonly Buffer[],
  { model, isMultipart }: RequestModel,
  name: string,
): readonly Buffer[] {
  return replaceBytes(pieces, model, Buffer.from(isMultipart ? name : JSON.stringify(name)));
}

function getText(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}
