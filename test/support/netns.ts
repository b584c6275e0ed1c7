import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';

/**
 * Returns why this machine cannot run test networks, or undefined when it can. They need Linux, root, and the commands `ip`
 * and `nft`: `apt-get install iproute2 nftables`.
 */
export function findNetworkProblem(): string | undefined {
  if (process.platform !== 'linux') return `network namespaces need Linux, and this is ${process.platform}`;
  if (process.getuid?.() !== 0) return 'network namespaces need root';
  const probe = `${NAMESPACE_PREFIX}${process.pid}-probe`;
  try {
    runIp('netns', 'add', probe);
    runNft(probe, 'add table inet probe');
    return undefined;
  } catch (error) {
    return `cannot create a network namespace with a packet filter: ${(error as Error).message.split('\n').at(-2)}`;
  } finally {
    removeNamespace(probe);
  }
}

/** A simulated host: a network namespace with a virtual cable to the namespace at the hub. */
export interface NetworkHost {
  /** Its own address, and the address of the middle on the same cable. */
  readonly address: string;
  readonly middle: string;
  /** Command prefix that runs a command line on this host. */
  readonly through: readonly string[];
  /** Pulls the cable out (`unplug`) and plugs it in again (`plug`). */
  unplug(): void;
  plug(): void;
  /** Silently drops this percentage of packets in both directions: 100 simulates a host without power, 0 repairs the network. */
  setPacketLoss(percent: number): void;
}

/** A star of network namespaces: the API server runs at the hub, hosts around it. The machine's own network is not touched. */
export interface Network {
  /** Command prefix that runs a command line at the hub. */
  readonly through: readonly string[];
  addHost(): NetworkHost;
  /** Kills all processes in the network and removes it. */
  remove(): void;
}

/** Prefix of the names of all namespaces, before the id of the process that created them. */
export const NAMESPACE_PREFIX = 'anyserve-fault-';
const COMMAND_TIMEOUT_MS = 10_000;
let created = 0;

/** Creates a network without hosts. Removes networks that crashed runs left behind. */
export function createNetwork(): Network {
  removeLeftovers();
  const prefix = `${NAMESPACE_PREFIX}${process.pid}-${++created}`;
  const middle = `${prefix}-middle`;
  const namespaces = [middle];
  addNamespace(middle);
  return {
    through: getCommandPrefix(middle),
    addHost() {
      const number = namespaces.length;
      const name = `${prefix}-host${number}`;
      const [here, there] = [`m${number}`, `h${number}`];
      const subnet = `10.77.${number}`;
      addNamespace(name);
      namespaces.push(name);
      runIp('link', 'add', here, 'netns', middle, 'type', 'veth', 'peer', 'name', there, 'netns', name);
      runIp('-n', middle, 'address', 'add', `${subnet}.1/24`, 'dev', here);
      runIp('-n', name, 'address', 'add', `${subnet}.2/24`, 'dev', there);
      runIp('-n', middle, 'link', 'set', here, 'up');
      runIp('-n', name, 'link', 'set', there, 'up');
      const setLink = (state: 'up' | 'down'): void => runIp('-n', name, 'link', 'set', there, state);
      return {
        address: `${subnet}.2`,
        middle: `${subnet}.1`,
        through: getCommandPrefix(name),
        unplug: () => setLink('down'),
        plug: () => setLink('up'),
        setPacketLoss(percent) {
          dropArriving(name, there, percent);
          dropArriving(middle, here, percent);
        },
      };
    },
    remove() {
      for (const name of namespaces.splice(0)) removeNamespace(name);
    },
  };
}

function dropArriving(namespace: string, link: string, percent: number): void {
  const table = `loss_${link}`;
  runNft(namespace, `add table inet ${table}; delete table inet ${table}`);
  if (percent === 0) return;
  const some = percent < 100 ? `numgen random mod 100 < ${percent}` : '';
  const rule = `iifname "${link}" ${some} drop`;
  runNft(
    namespace,
    `add table inet ${table}; add chain inet ${table} arriving { type filter hook input priority 0; }; add rule inet ${table} arriving ${rule}`,
  );
}

/** Returns the command prefix that runs a command line in a namespace. */
export function getCommandPrefix(namespace: string): readonly string[] {
  return ['ip', 'netns', 'exec', namespace];
}

/** Creates a namespace with a loopback interface. */
export function addNamespace(name: string): void {
  runIp('netns', 'add', name);
  runIp('-n', name, 'link', 'set', 'lo', 'up');
}

/** Kills the processes in a namespace and removes it together with its cables. */
export function removeNamespace(name: string): void {
  if (!listNamespaces().includes(name)) return;
  const pids = execFileSync('ip', ['netns', 'pids', name], { encoding: 'utf8', timeout: COMMAND_TIMEOUT_MS });
  for (const pid of pids.split('\n').filter(Boolean)) {
    try {
      process.kill(Number(pid), 'SIGKILL');
    } catch {
      // The process has already ended.
    }
  }
  runIp('netns', 'delete', name);
}

/** Removes the namespaces of runs whose process has ended. */
export function removeLeftovers(): void {
  for (const name of listNamespaces().filter((name) => name.startsWith(NAMESPACE_PREFIX))) {
    const pid = Number.parseInt(name.slice(NAMESPACE_PREFIX.length), 10);
    try {
      process.kill(pid, 0);
    } catch {
      removeNamespace(name);
    }
  }
}

function listNamespaces(): string[] {
  try {
    return readdirSync('/run/netns');
  } catch {
    return [];
  }
}

/** Runs `ip`. */
export function runIp(...args: string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'], timeout: COMMAND_TIMEOUT_MS });
}

/** Runs commands of `nft` in a namespace. */
export function runNft(namespace: string, commands: string): void {
  execFileSync('ip', ['netns', 'exec', namespace, 'nft', commands], {
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: COMMAND_TIMEOUT_MS,
  });
}
