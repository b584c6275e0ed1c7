/** The API server's description of itself. Times are in ms since 1970, by its own clock. */
export interface ServerInfo {
  readonly nowMs: number;
  readonly startedMs: number;
  readonly version: string | undefined;
  readonly store: string | undefined;
  readonly registryId: string | undefined;
  readonly isInSelfPreservation: boolean;
  /** One text for each thing that doesn't work. */
  readonly problems: readonly string[];
}

/** Converts the response body of `GET /ui/server`. */
export function toServerInfo(body: unknown): ServerInfo {
  const members = (body ?? {}) as Readonly<Record<string, unknown>>;
  const { now, started, version, store, registry, self_preservation: isInSelfPreservation, problems } = members;
  return {
    nowMs: Number(now) * 1000,
    startedMs: Number(started) * 1000,
    version: toText(version),
    store: toText(store),
    registryId: toText(registry),
    isInSelfPreservation: isInSelfPreservation === true,
    problems: Array.isArray(problems) ? problems.map(String) : [],
  };
}

function toText(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}
