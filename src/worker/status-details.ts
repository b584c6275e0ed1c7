/** A gRPC status travels in a header, percent-encoded; clients refuse headers of more than 8 KiB in all. */
const MAX_ENCODED_LENGTH = 4096;

/** A message as a gRPC status can carry it: well-formed, and cut where its encoding would grow too long. */
export function statusDetails(message: string): string {
  const text = message.toWellFormed();
  let encodedLength = 0;
  let end = 0;
  for (const character of text) {
    encodedLength += encodeURIComponent(character).length;
    if (encodedLength > MAX_ENCODED_LENGTH) return `${text.slice(0, end)}...`;
    end += character.length;
  }
  return text;
}
