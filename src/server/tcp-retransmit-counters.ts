import { readFile } from 'node:fs/promises';

/** The kernel's counters of this network, each in a pair of lines: names, and numbers. */
const FILES = ['/proc/net/snmp', '/proc/net/netstat'];

/**
 * What counts up whenever a connection waits in vain: something was sent again, the time to answer had run out (also
 * where there was no way to send again), or a closed window was asked whether it has opened. Not when the last segment is
 * sent again before its time has run out, to probe for a loss: where peers are busy that happens all the time.
 */
const COUNTED = { RetransSegs: 1, TCPTimeouts: 1, TCPWinProbe: 1, TCPLossProbes: -1 };

/**
 * How often any connection of this machine has waited in vain for an acknowledgement, ever, less the probes that sent what
 * was new; undefined where the kernel does not count that. Where it is what it was before, none has since: it costs next to
 * nothing to ask, where the table of all connections costs 2 µs for each.
 */
export async function readRetransmitCount(): Promise<number | undefined> {
  try {
    const texts = await Promise.all(FILES.map((path) => readFile(path, 'latin1')));
    return parseRetransmitCount(texts.join('\n'));
  } catch {
    return undefined;
  }
}

/** Sums up the counters in what the kernel's files say; undefined when one of them is missing. */
export function parseRetransmitCount(text: string): number | undefined {
  const lines = text.split('\n').map((line) => line.split(' '));
  const counts = Object.entries(COUNTED).map(([name, sign]) => {
    const at = lines.findIndex((words) => words.includes(name));
    const column = lines[at]?.indexOf(name) ?? 0;
    const [kind, numbers] = [lines[at]?.[0], lines[at + 1]];
    return numbers?.[0] === kind ? sign * Number(numbers?.[column] ?? Number.NaN) : Number.NaN;
  });
  const sum = counts.reduce((total, count) => total + count, 0);
  return Number.isNaN(sum) ? undefined : sum;
}
