import type { ListedReplica } from '../api/replica-list-json.js';
import type { AnyserveError } from '../core/errors.js';
import type { ReplicaId } from '../core/ids.js';
import type { ServerAddress } from './server-list.js';

/** The list of one API server. */
export interface ServerReplicas {
  readonly server: ServerAddress;
  /** Id of the server's registry; undefined if it reports none. */
  readonly registryId?: string | undefined;
  readonly replicas: readonly ListedReplica[];
}

/** A replica in the lists of one or more API servers. */
export interface MergedReplica {
  readonly listed: ListedReplica;
  /** The servers that list this registration. */
  readonly servers: readonly ServerAddress[];
  /** Whether servers list registrations of different processes under this id. */
  readonly isConflict: boolean;
}

/** The replicas of all API servers. */
export interface MergedList {
  readonly replicas: readonly MergedReplica[];
  /** Number of API servers, including those whose lists are missing. Servers of one registry count as one. */
  readonly serverCount: number;
  /** The servers whose lists are missing, each with the reason. */
  readonly failures: readonly { readonly server: ServerAddress; readonly error: AnyserveError }[];
}

/**
 * Merges the lists of independent API servers, in the order of the first server and then of the others. Of registrations
 * of one process, the one with the highest sequence number is shown. Of registrations of several processes under one id,
 * the process that more servers list is shown, and the replica is marked as a conflict.
 */
export function mergeLists(lists: readonly ServerReplicas[]): MergedReplica[] {
  const entriesById = new Map<ReplicaId, Listing[]>();
  for (const { server, replicas } of lists) {
    for (const listed of replicas) {
      const entries = entriesById.get(listed.replica.id);
      if (entries) entries.push({ server, listed });
      else entriesById.set(listed.replica.id, [{ server, listed }]);
    }
  }
  return [...entriesById.values()].map(mergeListings);
}

/** Drops the responses of registries that an earlier response is from: one server can be listed under several addresses. */
export function dropSameRegistry<T extends Pick<ServerReplicas, 'server' | 'registryId'>>(
  responses: readonly T[],
): readonly T[] {
  const byRegistry = new Map<string, T>();
  for (const response of responses) {
    const key = response.registryId ?? `server ${response.server.name}`;
    if (!byRegistry.has(key)) byRegistry.set(key, response);
  }
  return [...byRegistry.values()];
}

/** A replica in the list of one API server. */
export interface Listing {
  readonly server: ServerAddress;
  readonly listed: ListedReplica;
}

/** Merges the listings of one replica id. */
export function mergeListings(entries: readonly Listing[]): MergedReplica {
  const byProcess = new Map<string, Listing[]>();
  for (const entry of entries) {
    const process = getProcess(entry);
    byProcess.set(process, [...(byProcess.get(process) ?? []), entry]);
  }
  const [winner = entries] = [...byProcess.values()].sort((a, b) => b.length - a.length);
  const newest = winner.reduce((best, entry) => (getSeq(entry) > getSeq(best) ? entry : best));
  return { listed: newest.listed, servers: winner.map(({ server }) => server), isConflict: byProcess.size > 1 };
}

/** Returns what identifies the registering process: its instance id, or the endpoint if it sent none. */
function getProcess({ listed: { instance, replica } }: Listing): string {
  return instance?.id ?? `endpoint ${replica.endpoint}`;
}

function getSeq({ listed: { instance } }: Listing): number {
  return instance?.seq ?? 0;
}
