import { EtcdProcess } from './etcd-process.js';
import type { SwitchedHost, SwitchedNetwork } from './switched-network.js';
import { until } from './until.js';

/** A member of a cluster, and the host on which it runs. */
export interface EtcdMember {
  readonly etcd: EtcdProcess;
  readonly host: SwitchedHost;
}

/** Three etcd servers that are one cluster, each on a separate host. */
export class EtcdCluster {
  readonly members: readonly EtcdMember[];

  private constructor(members: readonly EtcdMember[]) {
    this.members = members;
  }

  /** Starts the members and waits until all answer. */
  static async start(network: SwitchedNetwork): Promise<EtcdCluster> {
    const hosts = [1, 2, 3].map(() => network.addHost());
    const etcds = await Promise.all(hosts.map((host) => EtcdProcess.start({ host, memberHosts: hosts })));
    return new EtcdCluster(hosts.map((host, n) => ({ host, etcd: etcds[n] as EtcdProcess })));
  }

  /** Address of the store for API servers. */
  get address(): string {
    return `etcd://${this.members.map(({ etcd }) => etcd.endpoint).join(',')}`;
  }

  /** Waits until all members answer and one of them is the leader, and returns it. */
  async waitForLeader(): Promise<EtcdMember> {
    let leader: EtcdMember | undefined;
    await until('the cluster has a leader', async () => {
      const isLeader = await Promise.all(this.members.map(({ etcd }) => etcd.isLeader()));
      leader = this.members[isLeader.indexOf(true)];
      return leader !== undefined;
    });
    return leader as EtcdMember;
  }
}
