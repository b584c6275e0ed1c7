import type { Table } from './performance-page.js';

/** The tables of `docs/scale.md`, by the headings above them. */
export const SCALE_TABLES: Readonly<Record<string, Table>> = {
  'How fast a change spreads': {
    results: 'scale',
    columns: [
      ['median', 'p50Ms', 'ms'],
      ['p99', 'p99Ms', 'ms'],
      ['median vs. bare', 'p50OfBare'],
      ['p99 vs. bare', 'p99OfBare'],
    ],
  },
  Registrations: {
    results: 'scale',
    columns: [
      ['all granted after', 'grantedMs', 's', 1000],
      ['listed by another server after', 'listedMs', 's', 1000],
    ],
  },
  'Starts and complete lists': {
    results: 'scale',
    columns: [
      ['a new server is ready after', 'startMs', 's', 1000],
      ['a complete list takes', 'relistMs', 's', 1000],
      ['CPU time of its server', 'relistCpuMs', 'ms'],
      ['longest stall', 'relistStallMs', 'ms'],
    ],
  },
  Memory: {
    results: 'scale',
    columns: [
      ['heap of the server with all leases', 'holderHeapBytes', 'MB', 1e6],
      ['of another server', 'mirrorHeapBytes', 'MB', 1e6],
      ['resident', 'mirrorResidentBytes', 'MB', 1e6],
      ['etcd, resident', 'etcdResidentBytes', 'MB', 1e6],
      ['database of etcd', 'etcdDatabaseBytes', 'MB', 1e6],
    ],
  },
  'Processor time': {
    results: 'scale',
    columns: [
      ['idle: server with the leases', 'idleHolderCpuPercent', '%'],
      ['another server', 'idleMirrorCpuPercent', '%'],
      ['etcd', 'idleEtcdCpuPercent', '%'],
      ['100 changes/s: server with the leases', 'busyHolderCpuPercent', '%'],
      ['another server', 'busyMirrorCpuPercent', '%'],
      ['etcd', 'busyEtcdCpuPercent', '%'],
    ],
  },
  Watchers: {
    results: 'scale',
    columns: [
      ['CPU', 'cpuPercent', '%'],
      ['heap each', 'heapBytesEach', 'kB', 1000],
      ['resident each', 'residentBytesEach', 'kB', 1000],
    ],
  },
  Lookups: {
    results: 'scale',
    columns: [
      ['requests/s', 'perSecond'],
      ['vs. a server with the registry in memory', 'ofMemoryStore'],
      ['CPU time of the server', 'cpuUs', 'µs'],
      ['vs. a server with the registry in memory', 'cpuOfMemoryStore'],
    ],
  },
};
