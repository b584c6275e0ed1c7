/**
 * Creates a function that converts the line endings of a text, fed to it in chunks, to line feeds. Lines of an event
 * stream can end with CR LF, LF or CR. The event stream parser searches the rest of the chunk for each kind at every
 * line, which takes a quarter of a second for a chunk of 64 KiB of CRs.
 */
export function createLineEndingNormalizer(): (chunk: string) => string {
  let endedWithCr = false;
  return (chunk) => {
    if (chunk === '') return chunk;
    const text = endedWithCr && chunk.startsWith('\n') ? chunk.slice(1) : chunk;
    endedWithCr = chunk.endsWith('\r');
    return text.includes('\r') ? text.replace(/\r\n?/g, '\n') : text;
  };
}
