import type { ApiClient } from '../../src/client/api-client.js';
import { LeaseKeeper } from '../../src/client/lease-keeper.js';
import type { Replica } from '../../src/core/replica.js';
import { clock, ids, random } from '../../src/system.js';
import { type ServerPlace, type ServerProcess, startServer } from './fleet.js';
import { findFreePort } from './free-port.js';
import type { RunRecorder } from './recorded-run.js';

/** An API server that can be restarted at the same address. */
export class RestartableServer {
  readonly url: string;
  readonly #place: ServerPlace & { readonly port: number };
  readonly #recorder: RunRecorder | undefined;
  #process: ServerProcess | undefined;

  constructor(place: ServerPlace & { readonly port: number }, recorder?: RunRecorder) {
    this.#place = place;
    this.#recorder = recorder;
    this.url = `http://${place.host?.address ?? '127.0.0.1'}:${place.port}`;
  }

  get process(): ServerProcess {
    return this.#process as ServerProcess;
  }

  async start(): Promise<void> {
    this.#process = await startServer({ ...this.#place, env: { ANYSERVE_WARMING: '10s' } });
    this.#recorder?.record({ kind: 'server-up', server: this.url });
  }

  /** Ends the process with a signal, and resolves when it has ended. */
  async stop(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    this.#recorder?.record({ kind: 'server-down', server: this.url });
    await this.process.running.stop(signal);
  }

  /** Stops the process for a time, after which it continues. */
  async freeze(ms: number): Promise<void> {
    this.#recorder?.record({ kind: 'server-down', server: this.url });
    this.process.running.child.kill('SIGSTOP');
    await new Promise((resolve) => setTimeout(resolve, ms));
    this.process.running.child.kill('SIGCONT');
    this.#recorder?.record({ kind: 'server-up', server: this.url });
  }

  async countReplicas(): Promise<number> {
    return (await this.process.listReplicaIds()).length;
  }
}

/** Starts API servers on free ports. */
export async function startServers(count: number, recorder?: RunRecorder): Promise<RestartableServer[]> {
  const servers: RestartableServer[] = [];
  for (let n = 0; n < count; n++) servers.push(new RestartableServer({ port: await findFreePort() }, recorder));
  await Promise.all(servers.map((server) => server.start()));
  return servers;
}

/** Keeps a replica registered with all servers, as a process of its own would. */
export function keepRegistered(api: ApiClient, replica: Replica, recorder?: RunRecorder): LeaseKeeper {
  const instanceId = ids.createInstanceId();
  const keeper = new LeaseKeeper({ api, replica, instanceId, clock, random });
  recorder?.record({ kind: 'keeper-started', id: replica.id, keeper: instanceId });
  keeper.run().catch(() => {});
  return keeper;
}
