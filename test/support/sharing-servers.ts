import type { TestContext } from 'vitest';
import { EtcdProcess } from './etcd-process.js';
import { type ServerProcess, startServer } from './fleet.js';
import { findFreePort } from './free-port.js';
import { until } from './until.js';

/** Options of {@link startSharing}. */
export interface SharingOptions {
  /** Options of etcd. */
  readonly etcdArgs?: readonly string[];
  /** Environment of the API servers. */
  readonly env?: NodeJS.ProcessEnv;
}

/** Starts an etcd, and API servers that share a registry in it. Resolves when all are ready. They end with the test. */
export async function startSharing(
  count: number,
  { onTestFinished }: TestContext,
  { etcdArgs = [], env = {} }: SharingOptions = {},
): Promise<{
  readonly etcd: EtcdProcess;
  readonly args: readonly string[];
  readonly servers: readonly ServerProcess[];
}> {
  const etcd = await EtcdProcess.start({ args: etcdArgs });
  const args = ['--store', `etcd://${etcd.endpoint}`];
  const servers = await Promise.all(
    Array.from({ length: count }, async () => startServer({ args, env, port: await findFreePort() })),
  );
  onTestFinished(async () => {
    await Promise.all(servers.map(({ running }) => running.stop('SIGKILL')));
    await etcd.kill();
  });
  await until('all are ready', async () => {
    const responses = await Promise.all(servers.map((server) => server.fetchPath('/readyz')));
    return responses.every(({ body }) => body === '{"status":"ready"}');
  });
  return { etcd, args, servers };
}
