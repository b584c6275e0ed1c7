/**
 * Makes a function that turns the line ends of a text that comes in pieces into line feeds. An event stream can end its lines
 * with CR LF, LF or CR, but the parser searches the rest of a piece for each kind at each line: a piece of 64 KiB of CRs
 * keeps it busy for a quarter of a second.
 */
export function createLineEndingNormalizer(): (piece: string) => string {
  let endedWithCr = false;
  return (piece) => {
    if (piece === '') return piece;
    const text = endedWithCr && piece.startsWith('\n') ? piece.slice(1) : piece;
    endedWithCr = piece.endsWith('\r');
    return text.includes('\r') ? text.replace(/\r\n?/g, '\n') : text;
  };
}
