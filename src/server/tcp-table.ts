import { open } from 'node:fs/promises';
import type { Socket } from 'node:net';

/** A connection as the kernel's table has it. */
export interface TcpEntry {
  /** What {@link getTcpKey} makes of the same connection. */
  readonly key: string;
  /** Bytes handed to the kernel that the other end has not acknowledged. */
  readonly unacknowledgedBytes: number;
  /** How often the oldest of them were sent again without an answer. */
  readonly retransmits: number;
  /** Whether the other end has no room for more, and is asked now and then whether it has some again. */
  readonly isWindowClosed: boolean;
  /** The kernel's present retransmission timeout, in ms: it doubles at each retransmission. 0 where nothing is unacknowledged. */
  readonly retransmitAfterMs: number;
}

/** Connections over IPv4, and those over IPv6. A machine without IPv6 has only the first. */
const TABLES = ['/proc/net/tcp', '/proc/net/tcp6'];

/** The kernel hands out a page at a time, whatever is asked for. */
const READ_BYTES = 4096;

/** A timer that asks a closed window whether it has opened. Source: the kernel's net/ipv4/tcp_ipv4.c. */
const PROBE_TIMER = '04';

/**
 * Reads the kernel's table of this machine's connections. It comes a page at a time, each read off the main thread, so
 * that nothing waits long for it: with 10,000 connections it is 40 ms of work in steps under 1 ms. A connection that
 * comes or goes meanwhile may be missing once. Rejects where there is no such table: only Linux has one.
 */
export async function* readTcpTable(): AsyncGenerator<TcpEntry> {
  const [tcp, tcp6] = TABLES as [string, string];
  yield* readTable(tcp);
  try {
    yield* readTable(tcp6);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

async function* readTable(path: string): AsyncGenerator<TcpEntry> {
  const file = await open(path);
  try {
    const page = Buffer.alloc(READ_BYTES);
    let rest = '';
    for (;;) {
      const { bytesRead } = await file.read(page, 0, READ_BYTES);
      if (bytesRead === 0) return;
      const lines = `${rest}${page.toString('latin1', 0, bytesRead)}`.split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const entry = parseLine(line);
        if (entry) yield entry;
      }
    }
  } finally {
    await file.close();
  }
}

/** Column of the retransmission timeout, in hundredths of a second. Source: `get_tcp4_sock` in the kernel's net/ipv4/tcp_ipv4.c. */
const TIMEOUT_COLUMN = 12;

/** `sl local remote state tx_queue:rx_queue timer:when retransmits ...`, all of these but the last in hexadecimal. */
function parseLine(line: string): TcpEntry | undefined {
  const [, local, remote, , queues, timer, retransmits] = line.trimStart().split(/ +/, 7);
  if (!local?.includes(':') || !remote || !queues || !timer || !retransmits) return undefined;
  const unacknowledgedBytes = Number.parseInt(queues, 16);
  return {
    key: `${local} ${remote}`,
    unacknowledgedBytes,
    retransmits: Number.parseInt(retransmits, 16),
    isWindowClosed: timer.startsWith(PROBE_TIMER),
    // Not for idle connections, which are nearly all: each column takes time.
    retransmitAfterMs: unacknowledgedBytes === 0 ? 0 : 10 * Number(line.trimStart().split(/ +/)[TIMEOUT_COLUMN] ?? 0),
  };
}

/** How the kernel's table names a connection; undefined for one that is no TCP connection, or none any more. */
export function getTcpKey(
  socket: Pick<Socket, 'localAddress' | 'localPort' | 'remoteAddress' | 'remotePort'>,
): string | undefined {
  const { localAddress, localPort, remoteAddress, remotePort } = socket;
  if (!localAddress || !remoteAddress || localPort === undefined || remotePort === undefined) return undefined;
  return `${placeOf(localAddress, localPort)} ${placeOf(remoteAddress, remotePort)}`;
}

function placeOf(address: string, port: number): string {
  return `${address.includes(':') ? hexOfIpv6(address) : hexOfIpv4(address)}:${hex(port, 4)}`;
}

/** The kernel prints the words of an address as numbers of this machine, on which Node runs little-endian only. */
function hexOfIpv4(address: string): string {
  return address
    .split('.')
    .map((byte) => hex(Number(byte), 2))
    .reverse()
    .join('');
}

function hexOfIpv6(address: string): string {
  const [text = ''] = address.split('%');
  const embedded = /[^:]+\.[^:]+$/.exec(text)?.[0];
  // The last 32 bits of `::ffff:1.2.3.4`, in the order of the network.
  const plain = embedded ? text.replace(embedded, hexOfIpv4(embedded).replace(/(..)(..)(..)(..)/, '$4$3:$2$1')) : text;
  const [before = '', after] = plain.split('::');
  const head = before.split(':').filter((group) => group !== '');
  const tail = (after ?? '').split(':').filter((group) => group !== '');
  const zeros = Array<string>(8 - head.length - tail.length).fill('0');
  const bytes = [...head, ...zeros, ...tail].map((group) => group.padStart(4, '0')).join('');
  return bytes.replace(/(..)(..)(..)(..)/g, '$4$3$2$1').toUpperCase();
}

function hex(number: number, digits: number): string {
  return number.toString(16).toUpperCase().padStart(digits, '0');
}
