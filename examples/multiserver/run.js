// An API server, two workers and a client, each a process of its own. Starts them, shows the answers, and ends.

import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { ANYSERVE, line, start, stopAll } from '../processes.js';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

try {
  const server = await line(start('api server', ANYSERVE, 'serve', '--port', '0'), /listening on (\S+)/);
  const workers = ['worker1', 'worker2'].map((name) =>
    start(name, ANYSERVE, 'worker', here(`${name}.js`), '--id', name, '--port', '0', '--server', server),
  );
  await Promise.all(workers.map((worker) => line(worker, /^(registered)/)));
  const { child } = start('registry', ANYSERVE, 'registry', '--server', server);
  await once(child, 'close');
  const client = start('client', here('client.js'), server);
  const [code] = await once(client.child, 'close');
  process.exitCode = code;
} finally {
  await stopAll();
}
