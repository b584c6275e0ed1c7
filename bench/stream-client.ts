/** The client of the gateway benchmarks for streams, in a process of its own. */
import { Agent, request as send } from 'node:http';
import { answerQuestions } from './child-process.js';
import { computeQuantile, readMonotonicUs } from './figures.js';
import { CALL_PATH, MODEL } from './gateway-engine.js';

/** Streams that are read at the same time. */
export interface StreamOrder {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly streams: number;
  /** Number of tokens of each stream, and the pause between two, in ms. */
  readonly tokens: number;
  readonly pauseMs: number;
}

/** The figures of the streams that were read. */
export interface StreamResult {
  readonly tokens: number;
  /** Time from the engine to the client, of all tokens, in µs. */
  readonly p50Us: number;
  readonly p99Us: number;
  /** Processor time of this process as a part of the time. With much less than 1, the client is not the limit. */
  readonly ownLoad: number;
  /** Why a stream has failed; undefined if none has. */
  readonly failure?: string;
}

/** Time in which streams begin, in ms, so that their tokens don't come at the same moments. */
const SPREAD_MS = 100;

/** Time after which a stream that should have ended, or begun, counts as failed, in ms. */
const LATE_MS = 20_000;

const TOKEN = /"content":"([\d.]+) "/g;

const agent = new Agent({ keepAlive: true });

/** Reads a stream. Adds the delay of each token. `onFirst` is called with the first one. Rejects if the stream is late. */
function readStream(
  { url, headers, tokens, pauseMs }: StreamOrder,
  delaysUs: number[],
  onFirst?: () => void,
): Promise<void> {
  const messages = [{ role: 'user', content: 'Hello' }];
  const body = JSON.stringify({ model: MODEL, messages, stream: true, max_tokens: tokens, seed: pauseMs });
  return new Promise((resolve, reject) => {
    let rest = '';
    let isFirst = true;
    const fail = (): void => void request.destroy(new Error(`${url}: a stream did not finish`));
    const late = setTimeout(fail, (onFirst ? 0 : tokens * pauseMs) + LATE_MS);
    const request = send(url + CALL_PATH, { method: 'POST', headers, agent }, (response) => {
      if (response.statusCode !== 200) reject(new Error(`${url}: status ${response.statusCode}`));
      response.setEncoding('latin1').on('data', (text: string) => {
        const nowUs = readMonotonicUs();
        const end = text.lastIndexOf('\n') + 1;
        for (const [, sentAtUs] of (rest + text.slice(0, end)).matchAll(TOKEN)) {
          delaysUs.push(nowUs - Number(sentAtUs));
          if (isFirst && onFirst) {
            clearTimeout(late);
            onFirst();
          }
          isFirst = false;
        }
        rest = text.slice(end);
      });
      response.on('end', resolve);
      response.on('error', reject);
    });
    request.on('error', reject);
    request.on('close', () => clearTimeout(late));
    request.end(body);
  });
}

async function readStreams(order: StreamOrder): Promise<StreamResult> {
  const delaysUs: number[] = [];
  const [startUs, startCpu] = [readMonotonicUs(), process.cpuUsage()];
  const read = async (_: unknown, index: number): Promise<void> => {
    await new Promise((resolve) => setTimeout(resolve, (SPREAD_MS * index) / order.streams));
    await readStream(order, delaysUs);
  };
  const results = await Promise.allSettled(Array.from({ length: order.streams }, read));
  const failed = results.find((result) => result.status === 'rejected');
  const { user, system } = process.cpuUsage(startCpu);
  return {
    tokens: delaysUs.length,
    p50Us: computeQuantile(delaysUs, 0.5),
    p99Us: computeQuantile(delaysUs, 0.99),
    ownLoad: (user + system) / (readMonotonicUs() - startUs),
    ...(failed && { failure: String(failed.reason) }),
  };
}

/** Opens streams that stay open. Resolves when each has its first token: to their number, or to what failed. */
function openStreams(order: StreamOrder): Promise<number | string> {
  return openInBatches(order).catch(String);
}

async function openInBatches(order: StreamOrder): Promise<number> {
  let opened = 0;
  while (opened < order.streams) {
    const batch = Array.from(
      { length: Math.min(100, order.streams - opened) },
      () => new Promise<void>((resolve, reject) => void readStream(order, [], resolve).catch(reject)),
    );
    await Promise.all(batch);
    opened += batch.length;
  }
  return opened;
}

/** Ends the streams that are open. */
function closeStreams(): boolean {
  agent.destroy();
  return true;
}

answerQuestions({ readStreams, openStreams, closeStreams });
console.log('ready');
