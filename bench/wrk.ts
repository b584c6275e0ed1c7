/** Runs wrk, a load generator in C that is fast enough not to be the limit. */
import { execFile } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** A request that wrk sends again and again. */
export interface WrkRequest {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** The figures that wrk reports. */
export interface WrkResult {
  readonly calls: number;
  readonly perSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
}

const folder = mkdtempSync(join(tmpdir(), 'anyserve-wrk-'));

const REPORT = `
done = function(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format('{"calls":%d,"durationUs":%d,"p50Us":%d,"p99Us":%d,"failed":%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), failed))
end
`;

/** Time for which wrk waits for responses after the end of the load, in s. */
const LAST_RESPONSES_S = 30;

let scripts = 0;

/** Writes the script for a request. Returns its file. */
export function writeWrkScript({ headers, body }: Omit<WrkRequest, 'url'>): string {
  const file = join(folder, `${++scripts}.lua`);
  const lines = Object.entries(headers).map(([name, value]) => `wrk.headers[${quote(name)}] = ${quote(value)}\n`);
  writeFileSync(file, `wrk.method = "POST"\nwrk.body = ${quote(body)}\n${lines.join('')}${REPORT}`);
  return file;
}

/** Writes the script for GET requests with these targets, in turn. Returns its file. */
export function writeWrkTargets(targets: readonly string[]): string {
  const file = join(folder, `${++scripts}.lua`);
  const requests = targets.map((target) => quote(`GET ${target} HTTP/1.1\r\nHost: localhost\r\n\r\n`));
  const next = 'request = function()\n  turn = turn % #requests + 1\n  return requests[turn]\nend\n';
  writeFileSync(file, `local requests = {${requests.join(', ')}}\nlocal turn = 0\n${next}${REPORT}`);
  return file;
}

/** Sends requests over connections for a time. Throws if any of them failed, or if that takes much longer. */
export async function runWrk(
  script: string,
  url: string,
  { core, connections, seconds }: { readonly core: number; readonly connections: number; readonly seconds: number },
): Promise<WrkResult> {
  const options = ['-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', `${LAST_RESPONSES_S}s`, '-s', script, url];
  const timeout = 1000 * (seconds + LAST_RESPONSES_S);
  const { stdout } = await promisify(execFile)('taskset', ['-c', String(core), 'wrk', ...options], { timeout });
  const line = stdout.split('\n').find((text) => text.startsWith('{'));
  if (line === undefined) throw new Error(`wrk printed no result:\n${stdout}`);
  const { calls, durationUs, p50Us, p99Us, failed } = JSON.parse(line);
  if (failed > 0) throw new Error(`${url}: ${failed} of ${calls} calls failed:\n${stdout}`);
  return { calls, perSecond: (calls * 1e6) / durationUs, p50Us, p99Us };
}

/** Quotes a text for Lua, whose escapes are those of JSON for the texts here. */
function quote(text: string): string {
  return JSON.stringify(text);
}
