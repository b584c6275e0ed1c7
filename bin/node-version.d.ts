/** Returns the message for a version of Node.js that is too old; undefined when it is new enough. */
export function unsupported(version: string): string | undefined;
