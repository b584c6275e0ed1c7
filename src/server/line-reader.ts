import type { Duplex } from 'node:stream';

const NEWLINE = 10;

/**
 * Reads lines from a connection, and writes the response to each. Destroys the connection if the peer sends a line before the response
 * to the previous one, or a line over the limit: so a connection costs at most one line of memory and one response at a time.
 */
export function respondToLines(
  socket: Duplex,
  maxLineBytes: number,
  handle: (line: string) => Promise<string>,
  write: (response: string) => void,
): void {
  let beginning: Buffer | undefined;
  let isBusy = false;
  socket.on('data', (bytes: Buffer) => {
    const line = beginning ? Buffer.concat([beginning, bytes]) : bytes;
    const end = line.indexOf(NEWLINE);
    const isLast = end === -1 || end === line.length - 1;
    if (isBusy || !isLast || line.length > maxLineBytes) return void socket.destroy();
    if (end === -1) {
      // A copy, because the bytes are a part of a buffer of 64 KiB.
      beginning = Buffer.from(line);
      return;
    }
    beginning = undefined;
    isBusy = true;
    void handle(line.toString()).then((response) => {
      isBusy = false;
      write(response);
    });
  });
}
