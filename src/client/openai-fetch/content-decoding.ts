import { Duplex } from 'node:stream';
import { createBrotliDecompress } from 'node:zlib';

/** A stream that decodes what is written to it. */
interface Decoder {
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<Uint8Array>;
}

/** The codings of HTTP that `fetch` of Node.js decodes, too (RFC 9110, section 8.4.1). */
const DECODERS: ReadonlyMap<string, () => Decoder> = new Map([
  ['gzip', () => new DecompressionStream('gzip') as Decoder],
  ['x-gzip', () => new DecompressionStream('gzip') as Decoder],
  ['deflate', () => new DecompressionStream('deflate') as Decoder],
  ['br', () => Duplex.toWeb(createBrotliDecompress()) as Decoder],
]);

/**
 * Decodes the body of a response, as `fetch` of Node.js does. Requests ask for no coding, but a replica or a proxy can still use one.
 * `codings`: the header `content-encoding`. A body with an unknown coding stays as it is.
 */
export function decodeContent<Body extends Uint8Array | ReadableStream<Uint8Array> | string>(
  body: Body,
  codings: string | null,
): Body | ReadableStream<Uint8Array> {
  const names = (codings ?? '').toLowerCase().split(/[\s,]+/);
  const decoders = names.filter((name) => name !== '' && name !== 'identity').map((name) => DECODERS.get(name));
  const isEmpty = body instanceof Uint8Array && body.length === 0;
  if (decoders.length === 0 || isEmpty || !decoders.every((create) => create !== undefined)) return body;
  const coded = body instanceof ReadableStream ? body : (new Response(body).body as ReadableStream<Uint8Array>);
  return decoders.reduceRight((stream, create) => stream.pipeThrough(create()), coded);
}
