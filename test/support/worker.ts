import type { Clock } from '../../src/core/ports.js';
import * as system from '../../src/system.js';
import type { Backend } from '../../src/worker/backend.js';
import { runWorker, type WorkerOptions } from '../../src/worker/running-worker.js';
import type { Worker } from '../../src/worker/worker-settings.js';
import { createRecordingLog } from './replicas.js';

/** Starts a worker on a free port, with access to its log lines. By default it registers with no API server. */
export async function startTestWorker(
  backend: Backend,
  options: Partial<WorkerOptions> = {},
  clock: Clock = system.clock,
): Promise<Worker & { readonly log: ReturnType<typeof createRecordingLog> }> {
  const log = createRecordingLog();
  const worker = await runWorker(
    {
      backends: [backend],
      host: '127.0.0.1',
      port: 0,
      servers: [],
      maxConcurrency: 64,
      maxQueue: 64,
      maxMessageBytes: 64 * 1024 * 1024,
      maxDecodingBytes: 512 * 1024 * 1024,
      drainDelayMs: 5000,
      drainTimeoutMs: 5000,
      ...options,
    },
    { clock, random: system.random, ids: system.ids, log, hostName: 'test', instance: 'abc123', version: '0.0.0' },
  );
  return { ...worker, log };
}
