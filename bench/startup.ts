/**
 * Measures the CPU and wall time of short commands of the built binary against `node -e ''`, on one core, in alternating
 * rounds. `route`, `registry` and `infer` talk to an API server and a worker that keep running. Needs python3.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { start } from './child-process.js';
import { computeMedian, computeMedianRatio, roundFigure } from './figures.js';
import { getProjectPath } from './project-file.js';
import { report } from './report.js';

const ROUNDS = 25;
const binary = getProjectPath('bin/anyserve.js');
const node = process.execPath;

interface Times {
  readonly code: number;
  readonly cpuMs: number;
  readonly wallMs: number;
}

const server = (await start([node, binary, 'serve', '--port', '0'], { until: /^listening/ })).line.split(' ').at(-1);
const backend = ['--backend', 'echo', '--cap', 'type=chat', '--port', '0', '--server', `${server}`];
await start([node, binary, 'worker', ...backend], { until: /^registered/ });

const serverOption = ['--server', `${server}`];
const commands: Readonly<Record<string, readonly string[]>> = {
  "node -e ''": [node, '-e', ''],
  '--help': [node, binary, '--help'],
  route: [node, binary, 'route', 'type=chat', ...serverOption],
  registry: [node, binary, 'registry', ...serverOption],
  infer: [node, binary, 'infer', 'chat', '--prompt', 'Hello', ...serverOption],
};

const timer = spawn('taskset', ['-c', '0', 'python3', getProjectPath('bench/child_times.py')], {
  stdio: ['pipe', 'pipe', 'inherit'],
});
const answers = createInterface({ input: timer.stdout })[Symbol.asyncIterator]();

async function measure(command: readonly string[]): Promise<Times> {
  timer.stdin.write(`${JSON.stringify(command)}\n`);
  const times = JSON.parse((await answers.next()).value) as Times;
  if (times.code !== 0) throw new Error(`${command.join(' ')} ended with ${times.code}`);
  return times;
}

const cpuMs = new Map<string, number[]>();
const wallMs = new Map<string, number[]>();
const getValues = (times: Map<string, number[]>, what: string): number[] => {
  const values = times.get(what) ?? [];
  times.set(what, values);
  return values;
};
// One unmeasured run of each command, so that all files are in the page cache.
for (const command of Object.values(commands)) await measure(command);
for (let round = 0; round < ROUNDS; round++) {
  for (const [what, command] of Object.entries(commands)) {
    const times = await measure(command);
    getValues(cpuMs, what).push(times.cpuMs);
    getValues(wallMs, what).push(times.wallMs);
  }
}
timer.stdin.end();
await once(timer, 'exit');

const [bare = ''] = Object.keys(commands);
report({
  name: 'startup',
  rows: Object.keys(commands).map((what) => ({
    what,
    cpuMs: roundFigure(computeMedian(getValues(cpuMs, what))),
    cpuTimesBare: roundFigure(computeMedianRatio(getValues(cpuMs, what), getValues(cpuMs, bare))),
    wallMs: roundFigure(computeMedian(getValues(wallMs, what))),
    wallTimesBare: roundFigure(computeMedianRatio(getValues(wallMs, what), getValues(wallMs, bare))),
  })),
  compared: { cpuTimesBare: 'less', wallTimesBare: 'less' },
});
process.exit();
