import { execFileSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createChannelSecurity } from '../../src/client/channel-credentials.js';
import { asEndpoint } from '../../src/core/ids.js';
import { EtcdClient, type EtcdClientOptions } from '../../src/store/etcd/etcd-client.js';
import * as system from '../../src/system.js';
import { type Running, startProgram } from './binary.js';
import type { Certificate } from './certificates.js';
import { findFreePort } from './free-port.js';
import { until } from './until.js';

/** Returns why this machine cannot run etcd; undefined if it can. It needs Debian's packages etcd-server and etcd-client. */
export function findEtcdProblem(): string | undefined {
  try {
    execFileSync('etcd', ['--version'], { stdio: 'pipe' });
    execFileSync('etcdctl', ['version'], { stdio: 'pipe', env: { ...process.env, ETCDCTL_API: '3' } });
    return undefined;
  } catch {
    return 'etcd is not installed: apt-get install etcd-server etcd-client';
  }
}

/** Options of an etcd process. */
export interface EtcdProcessOptions {
  /** Certificate of the server. Clients must then use TLS. */
  readonly certificate?: Certificate | undefined;
  /** Further arguments. */
  readonly args?: readonly string[];
}

/** One etcd server on loopback, with a data folder that is removed with the test run. */
export class EtcdProcess {
  readonly endpoint: string;
  readonly #port: number;
  readonly #peerPort: number;
  readonly #options: EtcdProcessOptions;
  readonly #folder = mkdtempSync(join(tmpdir(), 'anyserve-etcd-'));
  #running: Running | undefined;

  private constructor(port: number, peerPort: number, options: EtcdProcessOptions) {
    this.endpoint = `127.0.0.1:${port}`;
    this.#port = port;
    this.#peerPort = peerPort;
    this.#options = options;
  }

  /** Starts a server and waits until it answers. */
  static async start(options: EtcdProcessOptions = {}): Promise<EtcdProcess> {
    const etcd = new EtcdProcess(await findFreePort(), await findFreePort(), options);
    await etcd.start();
    return etcd;
  }

  /** Starts the server again, with its data. */
  async start(): Promise<void> {
    const { certificate, args = [] } = this.#options;
    const scheme = certificate ? 'https' : 'http';
    const peer = `http://127.0.0.1:${this.#peerPort}`;
    const client = `${scheme}://127.0.0.1:${this.#port}`;
    const tls = certificate ? [`--cert-file=${certificate.certFile}`, `--key-file=${certificate.keyFile}`] : [];
    this.#running = startProgram([
      'etcd',
      `--data-dir=${this.#folder}`,
      `--listen-client-urls=${client}`,
      `--advertise-client-urls=${client}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=default=${peer}`,
      // A test doesn't have to survive a power failure.
      '--unsafe-no-fsync',
      ...tls,
      ...args,
    ]);
    await until('etcd answers', () => {
      this.control('get', 'nothing');
      return true;
    });
  }

  /** Runs `etcdctl` and returns its output. */
  control(...args: readonly string[]): string {
    const { certificate } = this.#options;
    const tls = certificate ? ['--insecure-skip-tls-verify', '--insecure-transport=false'] : [];
    return execFileSync('etcdctl', ['--endpoints', this.endpoint, '--command-timeout=5s', ...tls, ...args], {
      env: { ...process.env, ETCDCTL_API: '3' },
      stdio: 'pipe',
    }).toString();
  }

  async kill(): Promise<void> {
    await this.#running?.stop('SIGKILL');
  }

  pause(): void {
    this.#running?.child.kill('SIGSTOP');
  }

  resume(): void {
    this.#running?.child.kill('SIGCONT');
  }
}

/** Creates a client of these etcd servers. */
export function createTestEtcdClient(
  endpoints: readonly string[],
  { tls, login }: Partial<Pick<EtcdClientOptions, 'tls' | 'login'>> = {},
): EtcdClient {
  return new EtcdClient({
    endpoints,
    createSecurity: (endpoint, current) => createChannelSecurity(asEndpoint(endpoint), current),
    tls,
    login,
    clock: system.clock,
  });
}
