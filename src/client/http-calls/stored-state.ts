import { createRequestError, type OpenaiError } from './openai-error.js';

/** Members of a request that refer to what one engine keeps, and what that is. */
const STORED_STATE = {
  previous_response_id: 'a response',
  conversation: 'a conversation',
} as const;

/** Name of such a member. */
export type StoredMember = keyof typeof STORED_STATE;

export const STORED_MEMBERS = Object.keys(STORED_STATE) as readonly StoredMember[];

/** Finds the member of a request that refers to what one engine keeps. `path` is the path after the base URL. */
export function findStoredMember(path: string, getMember: (name: StoredMember) => unknown): StoredMember | undefined {
  const found = STORED_MEMBERS.find((name) => (getMember(name) ?? null) !== null);
  // Elsewhere, OpenAI's API has no conversations, and an engine can have a member with another meaning.
  return found === 'conversation' && !path.startsWith('/responses') ? undefined : found;
}

/** Creates the error for a request that only the engine with the state can handle. */
export function createStatefulError(member: StoredMember): OpenaiError {
  const message = `${member} refers to ${STORED_STATE[member]} that one engine keeps, and several replicas offer this model`;
  return createRequestError(`${message}; send the whole input`, { param: member });
}
