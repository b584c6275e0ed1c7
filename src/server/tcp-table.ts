import { open } from 'node:fs/promises';
import type { Socket } from 'node:net';

/** A connection in the kernel's table. */
export interface TcpEntry {
  /** Identifies the connection; {@link getTcpKey} returns the same key for its socket. */
  readonly key: string;
  /** Bytes handed to the kernel that the peer hasn't acknowledged. */
  readonly unacknowledgedBytes: number;
  /** Number of retransmissions of the oldest of these bytes without an acknowledgement. */
  readonly retransmits: number;
  /** Whether the peer's receive window is closed, so that the kernel sends window probes. */
  readonly isWindowClosed: boolean;
  /** The kernel's current retransmission timeout, in ms. It doubles at each retransmission. 0 if nothing is unacknowledged. */
  readonly retransmitTimeoutMs: number;
}

/** Connections over IPv4 and over IPv6. A machine without IPv6 only has the first. */
const TABLES = ['/proc/net/tcp', '/proc/net/tcp6'];

/** Number of bytes per read. The kernel returns at most one page at a time. */
const READ_BYTES = 4096;

/** The timer that probes a closed window. Source: the kernel's net/ipv4/tcp_ipv4.c. */
const WINDOW_PROBE_TIMER = '04';

/**
 * Reads the kernel's table of this machine's connections. It is read page by page off the main thread, so that requests
 * don't wait for it: 10,000 connections are 40 ms of work in steps of less than 1 ms. While connections open and close
 * during the read, a row can be missing once. Rejects if the system has no table; only Linux has one.
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

/** Parses `sl local remote state tx_queue:rx_queue timer:when retransmits ...`, in hexadecimal. Undefined for other lines. */
function parseLine(line: string): TcpEntry | undefined {
  const [, local, remote, , queues, timer, retransmits] = line.trimStart().split(/ +/, 7);
  if (!local?.includes(':') || !remote || !queues || !timer || !retransmits) return undefined;
  const unacknowledgedBytes = Number.parseInt(queues, 16);
  return {
    key: `${local} ${remote}`,
    unacknowledgedBytes,
    retransmits: Number.parseInt(retransmits, 16),
    isWindowClosed: timer.startsWith(WINDOW_PROBE_TIMER),
    // Nearly all connections are idle, and parsing another column takes time.
    retransmitTimeoutMs: unacknowledgedBytes === 0 ? 0 : 10 * Number(line.trimStart().split(/ +/)[TIMEOUT_COLUMN] ?? 0),
  };
}

/** Returns the addresses and ports of a connection as the kernel's table writes them. Undefined if it isn't a connected TCP socket. */
export function getTcpKey(
  socket: Pick<Socket, 'localAddress' | 'localPort' | 'remoteAddress' | 'remotePort'>,
): string | undefined {
  const { localAddress, localPort, remoteAddress, remotePort } = socket;
  if (!localAddress || !remoteAddress || localPort === undefined || remotePort === undefined) return undefined;
  return `${formatAddress(localAddress, localPort)} ${formatAddress(remoteAddress, remotePort)}`;
}

function formatAddress(address: string, port: number): string {
  return `${address.includes(':') ? ipv6ToHex(address) : ipv4ToHex(address)}:${numberToHex(port, 4)}`;
}

/** The kernel prints each 32-bit word of an address as a number in host byte order. Node only runs on little-endian machines. */
function ipv4ToHex(address: string): string {
  return address
    .split('.')
    .map((byte) => numberToHex(Number(byte), 2))
    .reverse()
    .join('');
}

function ipv6ToHex(address: string): string {
  const [text = ''] = address.split('%');
  const embedded = /[^:]+\.[^:]+$/.exec(text)?.[0];
  // The last 32 bits of `::ffff:1.2.3.4`, in network byte order.
  const plain = embedded ? text.replace(embedded, ipv4ToHex(embedded).replace(/(..)(..)(..)(..)/, '$4$3:$2$1')) : text;
  const [before = '', after] = plain.split('::');
  const head = before.split(':').filter((group) => group !== '');
  const tail = (after ?? '').split(':').filter((group) => group !== '');
  const zeros = Array<string>(8 - head.length - tail.length).fill('0');
  const bytes = [...head, ...zeros, ...tail].map((group) => group.padStart(4, '0')).join('');
  return bytes.replace(/(..)(..)(..)(..)/g, '$4$3$2$1').toUpperCase();
}

function numberToHex(number: number, digits: number): string {
  return number.toString(16).toUpperCase().padStart(digits, '0');
}
