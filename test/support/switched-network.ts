import {
  addNamespace,
  getCommandPrefix,
  NAMESPACE_PREFIX,
  removeLeftovers,
  removeNamespace,
  runIp,
  runNft,
} from './netns.js';

/** A simulated host on the switch: a network namespace. */
export interface SwitchedHost {
  readonly address: string;
  /** Command prefix that runs a command line on this host. */
  readonly through: readonly string[];
  /** Silently drops all packets to and from these hosts, until `join`. */
  cut(others: readonly Pick<SwitchedHost, 'address'>[]): void;
  join(): void;
}

/** Hosts that reach each other and this machine through one switch. */
export interface SwitchedNetwork {
  addHost(): SwitchedHost;
  /** This machine, as its hosts see it. */
  readonly machine: Pick<SwitchedHost, 'address'>;
  /** Kills all processes in the network and removes it. */
  remove(): void;
}

const SWITCH = 'switch';
let created = 0;

/** Creates a network without hosts. It has a separate subnet, and adds one interface to this machine. */
export function createSwitchedNetwork(): SwitchedNetwork {
  removeLeftovers();
  const number = ++created;
  const prefix = `${NAMESPACE_PREFIX}${process.pid}-switch${number}`;
  const subnet = `10.${100 + (process.pid % 100)}.${number}`;
  const namespaces = [prefix];
  addNamespace(prefix);
  runIp('-n', prefix, 'link', 'add', SWITCH, 'type', 'bridge');
  runIp('-n', prefix, 'link', 'set', SWITCH, 'up');
  // Names of interfaces have at most 15 characters.
  connectMachine(prefix, `as${process.pid}-${number}`, `${subnet}.1/24`);
  let hosts = 1;
  return {
    machine: { address: `${subnet}.1` },
    addHost() {
      const host = ++hosts;
      const name = `${prefix}-host${host}`;
      const address = `${subnet}.${host}`;
      const [here, there] = [`m${host}`, `h${host}`];
      addNamespace(name);
      namespaces.push(name);
      runIp('link', 'add', here, 'netns', prefix, 'type', 'veth', 'peer', 'name', there, 'netns', name);
      runIp('-n', name, 'address', 'add', `${address}/24`, 'dev', there);
      runIp('-n', prefix, 'link', 'set', here, 'master', SWITCH, 'up');
      runIp('-n', name, 'link', 'set', there, 'up');
      return {
        address,
        through: getCommandPrefix(name),
        cut: (others) =>
          dropPackets(
            name,
            others.map((other) => other.address),
          ),
        join: () => dropPackets(name, []),
      };
    },
    remove() {
      for (const name of namespaces.splice(0).reverse()) removeNamespace(name);
    },
  };
}

/** Connects this machine to the switch. The interface vanishes with the namespace. */
function connectMachine(namespace: string, link: string, address: string): void {
  runIp('link', 'add', link, 'type', 'veth', 'peer', 'name', 'machine', 'netns', namespace);
  runIp('address', 'add', address, 'dev', link);
  runIp('link', 'set', link, 'up');
  runIp('-n', namespace, 'link', 'set', 'machine', 'master', SWITCH, 'up');
}

/** Drops the packets between a namespace and these addresses, and no others. */
function dropPackets(namespace: string, addresses: readonly string[]): void {
  runNft(namespace, 'add table ip cut; delete table ip cut');
  if (addresses.length === 0) return;
  const set = `{ ${addresses.join(', ')} }`;
  const chain = (name: string): string => `add chain ip cut ${name} { type filter hook ${name} priority 0; }`;
  const rules = [`add rule ip cut input ip saddr ${set} drop`, `add rule ip cut output ip daddr ${set} drop`];
  runNft(namespace, ['add table ip cut', chain('input'), chain('output'), ...rules].join('; '));
}
