import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { createChannelSecurity } from '../../src/client/channel-credentials.js';
import { asEndpoint } from '../../src/core/ids.js';
import { EtcdClient, type EtcdClientOptions } from '../../src/store/etcd/etcd-client.js';
import { EtcdThread } from '../../src/store/etcd/etcd-thread.js';
import type { EtcdThreadData } from '../../src/store/etcd/etcd-thread-messages.js';
import * as system from '../../src/system.js';
import { type Running, startProgram } from './binary.js';
import type { Certificate } from './certificates.js';
import { findFreePort } from './free-port.js';
import type { SwitchedHost } from './switched-network.js';
import { until } from './until.js';

const execute = promisify(execFile);

/** The built main file of the thread that runs the client. */
const CLIENT_THREAD = new URL('../../dist/etcd-client-thread.js', import.meta.url);

/** The etcd server to test with. Default: Debian's. `test/interop/install-etcd.sh` builds others. */
const ETCD = process.env['ANYSERVE_TEST_ETCD'] ?? 'etcd';

/** Returns why this machine cannot run etcd; undefined if it can. It needs Debian's packages etcd-server and etcd-client. */
export function findEtcdProblem(): string | undefined {
  try {
    execFileSync(ETCD, ['--version'], { stdio: 'pipe' });
    execFileSync('etcdctl', ['version'], { stdio: 'pipe', env: { ...process.env, ETCDCTL_API: '3' } });
    return undefined;
  } catch {
    return 'etcd is not installed: apt-get install etcd-server etcd-client';
  }
}

/** Options of an etcd process. */
export interface EtcdProcessOptions {
  /** Host on which it runs. Default: this machine, on free ports of loopback. */
  readonly host?: Pick<SwitchedHost, 'address' | 'through'> | undefined;
  /** Hosts of all members of its cluster. Default: it is the only one. */
  readonly memberHosts?: readonly Pick<SwitchedHost, 'address'>[] | undefined;
  /** Certificate of the server. Clients must then use TLS. */
  readonly certificate?: Certificate | undefined;
  /** Whether it survives a power failure, which makes writes slower. Default: false. */
  readonly isDurable?: boolean;
  /** The CA of the client certificates that the server asks for, and one of them. */
  readonly clients?: { readonly certificate: Certificate; readonly caFile: string } | undefined;
  /** Further arguments. */
  readonly args?: readonly string[];
}

/** Ports of a server that has a host. */
const CLIENT_PORT = 2379;
const PEER_PORT = 2380;

/** One etcd server, with a data folder that is removed with the test run. */
export class EtcdProcess {
  readonly endpoint: string;
  readonly #peerPort: number;
  readonly #options: EtcdProcessOptions;
  readonly #folder = mkdtempSync(join(tmpdir(), 'anyserve-etcd-'));
  #running: Running | undefined;

  private constructor(options: EtcdProcessOptions, port: number, peerPort: number) {
    this.endpoint = `${options.host?.address ?? '127.0.0.1'}:${port}`;
    this.#peerPort = peerPort;
    this.#options = options;
  }

  /** Starts a server and waits until it answers. */
  static async start(options: EtcdProcessOptions = {}): Promise<EtcdProcess> {
    const [port, peerPort] = options.host ? [CLIENT_PORT, PEER_PORT] : [await findFreePort(), await findFreePort()];
    const etcd = new EtcdProcess(options, port, peerPort);
    await etcd.start();
    return etcd;
  }

  /** Address of the store for API servers. */
  get address(): string {
    return `etcd://${this.endpoint}`;
  }

  get pid(): number {
    return this.#running?.child.pid as number;
  }

  /** Starts the server again, with its data. */
  async start(): Promise<void> {
    const { certificate, clients, args = [], host, isDurable } = this.#options;
    const { address, through } = host ?? { address: '127.0.0.1', through: [] };
    const toPeerUrl = (peer: string): string => `http://${peer}:${this.#peerPort}`;
    const client = `${certificate ? 'https' : 'http'}://${this.endpoint}`;
    const tls = certificate ? [`--cert-file=${certificate.certFile}`, `--key-file=${certificate.keyFile}`] : [];
    const members = this.#options.memberHosts ?? [{ address }];
    this.#running = startProgram(
      [
        ETCD,
        `--name=${address}`,
        `--data-dir=${this.#folder}`,
        `--listen-client-urls=${client}`,
        `--advertise-client-urls=${client}`,
        `--listen-peer-urls=${toPeerUrl(address)}`,
        `--initial-advertise-peer-urls=${toPeerUrl(address)}`,
        `--initial-cluster=${members.map((member) => `${member.address}=${toPeerUrl(member.address)}`).join(',')}`,
        ...(isDurable ? [] : ['--unsafe-no-fsync']),
        ...tls,
        ...(clients ? ['--client-cert-auth', `--trusted-ca-file=${clients.caFile}`] : []),
        ...args,
      ],
      { through },
    );
    await until('etcd answers', async () => {
      await this.control('get', 'nothing');
      return true;
    });
  }

  /** Runs `etcdctl` and returns its output. */
  async control(...args: readonly string[]): Promise<string> {
    const { certificate, clients } = this.#options;
    const tls = certificate ? ['--insecure-skip-tls-verify', '--insecure-transport=false'] : [];
    if (clients) tls.push(`--cert=${clients.certificate.certFile}`, `--key=${clients.certificate.keyFile}`);
    const { stdout } = await execute(
      'etcdctl',
      ['--endpoints', this.endpoint, '--command-timeout=5s', ...tls, ...args],
      { env: { ...process.env, ETCDCTL_API: '3' } },
    );
    return stdout;
  }

  /** Returns whether this member is the leader of its cluster. */
  async isLeader(): Promise<boolean> {
    const [{ Status: status }] = JSON.parse(await this.control('endpoint', 'status', '-w', 'json'));
    return status.leader === status.header.member_id;
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
  { tls = () => undefined, login = () => undefined }: Partial<Pick<EtcdClientOptions, 'tls' | 'login'>> = {},
): EtcdClient {
  return new EtcdClient({
    endpoints,
    createSecurity: (endpoint, current) => createChannelSecurity(asEndpoint(endpoint), current),
    tls,
    login,
    clock: system.clock,
  });
}

/** Creates a client of these etcd servers that runs in another thread, as in an API server. */
export function createTestEtcdThread(
  endpoints: readonly string[],
  { tls = () => undefined, login = () => undefined }: Partial<Pick<EtcdClientOptions, 'tls' | 'login'>> = {},
): EtcdThread {
  const startWorker = (workerData: EtcdThreadData): Worker => new Worker(CLIENT_THREAD, { workerData });
  return new EtcdThread({ endpoints, tls, login, startWorker });
}
