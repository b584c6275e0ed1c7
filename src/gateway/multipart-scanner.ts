import { isUtf8 } from 'node:buffer';
import { isFieldValue, skipToken } from '../http/engine-client/field-text.js';
import { BodyReader } from './body-pieces.js';
import { parseHeaderParameters } from './header-parameters.js';
import { type NamedModel, type RefusedBody, refuseBody } from './model-scanner.js';

/** A multipart body that was scanned. */
export interface ScannedMultipartBody {
  readonly kind: 'multipart';
  /** Undefined if the body has no field `model`. */
  readonly model: NamedModel | undefined;
  /** Whether it has a field `stream` with the text `true`. */
  readonly isStream: boolean;
}

/** Maximum size of the headers of a part, in bytes. */
const MAX_PART_HEAD_BYTES = 8192;

const TRUE = 'true';
const LINE_END = '\r\n';
const HEAD_END = Buffer.from('\r\n\r\n');

/** The characters of a boundary (RFC 2046, section 5.1.1). */
const BOUNDARY = /^[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]$/;

/** Encodings that don't change the bytes of a part. Go's parser decodes the others. */
const PLAIN_ENCODINGS: ReadonlySet<string> = new Set(['7bit', '8bit', 'binary']);

/** Error for a body that can't be routed. The message says why. */
class RefusalError extends Error {}

/**
 * Finds the field `model` of a `multipart/form-data` body, as uploads of audio have it, and its bytes. Accepts the bodies that
 * clients really send, and refuses everything that parsers read in different ways (RFC 7578): text before the first boundary, the
 * boundary anywhere else, lines that end with a line feed alone, ambiguous names.
 */
export function scanMultipartBody(pieces: readonly Buffer[], contentType: string): ScannedMultipartBody | RefusedBody {
  try {
    return { kind: 'multipart', ...findFields(new BodyReader(pieces), parseBoundary(contentType)) };
  } catch (error) {
    if (error instanceof RefusalError) return refuseBody(error.message);
    throw error;
  }
}

function parseBoundary(contentType: string): Buffer {
  const parsed = parseHeaderParameters(contentType);
  const boundary = parsed?.parameters.get('boundary');
  if (parsed?.value !== 'multipart/form-data' || boundary === undefined || !BOUNDARY.test(boundary))
    throw new RefusalError('the content-type is not multipart/form-data with a boundary');
  return Buffer.from(`--${boundary}`, 'latin1');
}

function findFields(body: BodyReader, delimiter: Buffer): Omit<ScannedMultipartBody, 'kind'> {
  let model: NamedModel | undefined;
  let isStream = false;
  if (body.indexOf(delimiter, 0) !== 0) throw new RefusalError('the body does not start with the boundary');
  for (let at = 0; ; ) {
    const start = at + delimiter.length;
    if (isEnd(body, start)) return { model, isStream };
    if (readText(body, start, start + 2) !== LINE_END) throw createDelimiterError(at);
    at = body.indexOf(delimiter, start);
    if (at < 0) throw new RefusalError('the body does not end with the boundary');
    if (readText(body, at - 2, at) !== LINE_END) throw createDelimiterError(at);
    const found = readPart(body, start + 2, at - 2);
    if (found === 'stream') isStream = true;
    else if (model && found) throw new RefusalError('the body has more than one "model"');
    else model ??= found;
  }
}

/** Returns whether the text after a boundary ends the body. Nothing follows but the end of the line. */
function isEnd(body: BodyReader, start: number): boolean {
  const rest = body.length - start;
  return rest <= 4 && /^--(?:\r\n)?$/.test(readText(body, start, body.length));
}

function createDelimiterError(position: number): RefusalError {
  return new RefusalError(`the boundary at position ${position} is not a line`);
}

/** Reads the headers of a part. Returns the model if it is one, or that it asks for a stream. */
function readPart(body: BodyReader, start: number, end: number): NamedModel | 'stream' | undefined {
  const head = body.slice(start, Math.min(end, start + MAX_PART_HEAD_BYTES));
  const headEnd = head.indexOf(HEAD_END);
  if (headEnd < 0) throw new RefusalError(`the part at position ${start} has no end of its headers`);
  const headers = parsePartHeaders(head.toString('latin1', 0, headEnd), start);
  const disposition = parseHeaderParameters(headers.get('content-disposition') ?? '');
  const parameters = disposition?.parameters;
  const name = parameters?.get('name');
  if (disposition?.value !== 'form-data' || name === undefined || name.includes('\\'))
    throw new RefusalError(`the part at position ${start} has no valid name`);
  const valueStart = start + headEnd + HEAD_END.length;
  if (name === 'stream' && end - valueStart === TRUE.length && readText(body, valueStart, end) === TRUE)
    return 'stream';
  if (name !== 'model') return undefined;
  const encoding = headers.get('content-transfer-encoding')?.toLowerCase() ?? 'binary';
  const value = body.slice(valueStart, end);
  if (parameters?.has('filename') || parameters?.has('filename*') || !PLAIN_ENCODINGS.has(encoding) || !isUtf8(value))
    throw new RefusalError('the field "model" is not a plain text');
  return { name: value.toString(), start: valueStart, end };
}

function parsePartHeaders(text: string, start: number): ReadonlyMap<string, string> {
  const headers = new Map<string, string>();
  for (const line of text.split(LINE_END)) {
    const colon = skipToken(line);
    const name = line.slice(0, colon).toLowerCase();
    if (colon === 0 || line[colon] !== ':' || !isFieldValue(line) || headers.has(name))
      throw new RefusalError(`a header of the part at position ${start} is not valid or repeated`);
    headers.set(name, line.slice(colon + 1).trim());
  }
  return headers;
}

function readText(body: BodyReader, start: number, end: number): string {
  return body.slice(start, end).toString('latin1');
}
