/** Returns an error message for an unsupported version of Node.js. Undefined for a supported version. */
export function unsupported(version: string): string | undefined;
