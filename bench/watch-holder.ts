/** Process that holds watch streams on request, each over a separate connection. A few of them record when changes arrive. */
import { connect, type Socket } from 'node:net';
import { answerQuestions } from './child-process.js';
import { readMonotonicUs } from './figures.js';

/** Streams to open. */
export interface WatchOpening {
  readonly port: number;
  readonly count: number;
  /** Number of different filters. Default: none has a filter. */
  readonly filters?: number;
}

/** Number of streams that record arrivals, spread over all. */
const SAMPLES = 20;

const sockets: Socket[] = [];
let arrivals: [revision: number, atUs: number][] = [];

/** Opens a stream, and resolves when its snapshot is complete. */
function openOne(n: number, { port, count, filters }: WatchOpening): Promise<void> {
  const isSample = n % Math.max(1, Math.floor(count / SAMPLES)) === 0;
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    sockets.push(socket);
    socket.on('error', reject);
    socket.write(`GET /watch${filters ? `?model=model-${n % filters}` : ''} HTTP/1.0\r\nHost: localhost\r\n\r\n`);
    let tail = '';
    let isSynced = false;
    socket.on('data', (chunk) => {
      if (isSynced && !isSample) return;
      const atUs = readMonotonicUs();
      const text = tail + chunk.toString('latin1');
      if (!isSynced) {
        isSynced = text.includes('event: synced');
        if (isSynced) resolve();
        tail = text.slice(-50);
        return;
      }
      const complete = text.lastIndexOf('\n\n') + 2;
      tail = text.slice(complete);
      for (const [, revision] of text.slice(0, complete).matchAll(/^id: \S+-(\d+)$/gm)) {
        arrivals.push([Number(revision), atUs]);
      }
    });
  });
}

answerQuestions({
  /** Opens the streams at once, and returns the time until all have their snapshots, in ms. */
  async open(opening: WatchOpening): Promise<number> {
    const startUs = readMonotonicUs();
    await Promise.all(Array.from({ length: opening.count }, (_, n) => openOne(n, opening)));
    return (readMonotonicUs() - startUs) / 1000;
  },
  /** Returns the arrivals since the last question. */
  arrivals() {
    const taken = arrivals;
    arrivals = [];
    return taken;
  },
  closeAll() {
    for (const socket of sockets.splice(0)) socket.destroy();
  },
});
console.log('ready');
