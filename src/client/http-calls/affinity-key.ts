/** The members of a request by which its conversation is recognized. */
export interface ConversationMembers {
  readonly promptCacheKey: string | undefined;
  readonly user: string | undefined;
}

/** Maximum number of bytes, or of UTF-16 units of a key, that stand for a conversation. */
const AFFINITY_BYTES = 1024;

/**
 * Returns the key of the conversation that a request continues: its `prompt_cache_key`, its `user`, or the beginning of its body.
 * The first messages of a conversation are the same in each of its requests, so an engine that has them cached can reuse them.
 */
export function getAffinityKey(
  { promptCacheKey, user }: ConversationMembers,
  body: readonly Buffer[],
): string | undefined {
  const key = promptCacheKey ?? user;
  // Hashing a key of 100 MB would take longer than the call.
  return key?.slice(0, AFFINITY_BYTES) ?? body[0]?.toString('latin1', 0, AFFINITY_BYTES);
}
