// Starts an API server, two workers and a client, each in its own process, prints their output, and ends.

import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { ANYSERVE, startProcess, stopAll, waitForLine } from '../processes.js';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

try {
  const server = await waitForLine(startProcess('api server', ANYSERVE, 'serve', '--port', '0'), /listening on (\S+)/);
  const workers = ['worker1', 'worker2'].map((name) =>
    startProcess(name, ANYSERVE, 'worker', here(`${name}.js`), '--id', name, '--port', '0', '--server', server),
  );
  await Promise.all(workers.map((worker) => waitForLine(worker, /^(registered)/)));
  const { child } = startProcess('registry', ANYSERVE, 'registry', '--server', server);
  await once(child, 'close');
  const client = startProcess('client', here('client.js'), server);
  const [code] = await once(client.child, 'close');
  process.exitCode = code;
} finally {
  await stopAll();
}
