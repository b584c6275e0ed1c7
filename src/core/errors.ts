import { truncateText } from './quoting.js';

/**
 * The closed list of error codes. Each row is the only place where a code is mapped to HTTP, gRPC and the shell: `http` is the
 * status code, `grpc` the canonical status number, `exit` the exit code of the command line. No attempt
 * follows a `final` failure: it would be the same at every replica, or it isn't known whether a repetition is safe.
 */
const CODES = {
  // The canonical gRPC statuses: the outcomes of a call to a replica.
  cancelled: { http: 499, grpc: 1, exit: 5, final: true },
  unknown: { http: 500, grpc: 2, exit: 5, final: true },
  invalid_argument: { http: 400, grpc: 3, exit: 5, final: true },
  deadline_exceeded: { http: 504, grpc: 4, exit: 5, final: true },
  not_found: { http: 404, grpc: 5, exit: 5, final: false },
  already_exists: { http: 409, grpc: 6, exit: 5, final: true },
  permission_denied: { http: 403, grpc: 7, exit: 5, final: true },
  resource_exhausted: { http: 429, grpc: 8, exit: 5, final: false },
  failed_precondition: { http: 412, grpc: 9, exit: 5, final: true },
  aborted: { http: 409, grpc: 10, exit: 5, final: true },
  out_of_range: { http: 400, grpc: 11, exit: 5, final: true },
  unimplemented: { http: 501, grpc: 12, exit: 5, final: false },
  internal: { http: 500, grpc: 13, exit: 5, final: false },
  unavailable: { http: 503, grpc: 14, exit: 5, final: false },
  data_loss: { http: 500, grpc: 15, exit: 5, final: true },
  unauthenticated: { http: 401, grpc: 16, exit: 5, final: true },
  // AnyServe codes for failures outside of a call.
  failed: { http: 500, grpc: 13, exit: 1, final: true },
  interrupted: { http: 499, grpc: 1, exit: 130, final: true },
  usage: { http: 400, grpc: 3, exit: 2, final: true },
  no_match: { http: 404, grpc: 5, exit: 3, final: true },
  unprocessable: { http: 422, grpc: 3, exit: 1, final: true },
  too_large: { http: 413, grpc: 8, exit: 1, final: true },
  not_an_api_server: { http: 502, grpc: 14, exit: 4, final: true },
  program_not_executable: { http: 500, grpc: 13, exit: 126, final: true },
  program_not_found: { http: 500, grpc: 13, exit: 127, final: true },
  server_unauthenticated: { http: 401, grpc: 16, exit: 1, final: true },
  server_permission_denied: { http: 403, grpc: 7, exit: 1, final: true },
  server_unreachable: { http: 502, grpc: 14, exit: 4, final: false },
} as const satisfies Record<string, { http: number; grpc: number; exit: number; final: boolean }>;

/** An error code. Programs branch on the code, never on a message. */
export type ErrorCode = keyof typeof CODES;

/** Maximum length of a message, in UTF-16 units. Messages quote untrusted strings of any length. */
const MAX_MESSAGE = 4096;

/** The only error class: a code, a one-line message for people, and an optional cause, which is never sent over the network. */
export class AnyserveError extends Error {
  override readonly name = 'AnyserveError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(truncateText(message, MAX_MESSAGE), options);
    this.code = code;
  }

  /** The canonical gRPC status number of this failure. */
  get grpcStatus(): number {
    return CODES[this.code].grpc;
  }

  /** The exit code of a command that fails with this error. */
  get exitCode(): number {
    return CODES[this.code].exit;
  }

  /** Whether no attempt at another replica follows: it would fail in the same way, or a repetition may not be safe. */
  get isFinal(): boolean {
    return CODES[this.code].final;
  }
}

/**
 * Returns whether a thrown value is an {@link AnyserveError}. Does not use `instanceof`, because a process can load several copies
 * of the class: in the bundle of the command line, in the commands outside the bundle, and in the library of a worker's module.
 */
export function isAnyserveError(thrown: unknown): thrown is AnyserveError {
  return thrown instanceof Error && thrown.name === 'AnyserveError' && 'code' in thrown;
}

/** Converts an error of another copy of the class to this copy's. A code that this copy doesn't have is `internal`. */
export function toOwnError(error: AnyserveError): AnyserveError {
  if (error instanceof AnyserveError) return error;
  const { code, message } = error as { code: string; message: string };
  return new AnyserveError(Object.hasOwn(CODES, code) ? (code as ErrorCode) : 'internal', message, { cause: error });
}

const byGrpcStatus = new Map<number, ErrorCode>();
for (const [code, row] of Object.entries(CODES)) {
  // The canonical rows come first, so they take precedence over AnyServe codes with the same number.
  if (!byGrpcStatus.has(row.grpc)) byGrpcStatus.set(row.grpc, code as ErrorCode);
}

/** Returns the HTTP status code of an error code. */
export function toHttpStatus(code: ErrorCode): number {
  return CODES[code].http;
}

/** Returns the error code of a gRPC status number; `unknown` if the number is not canonical. */
export function toErrorCode(status: number): ErrorCode {
  return byGrpcStatus.get(status) ?? 'unknown';
}

/** Returns the message of a thrown value in one line. Joins the lines of a message, and converts values that are not errors to text. */
export function getErrorMessage(thrown: unknown): string {
  const text = thrown instanceof Error ? thrown.message || thrown.name : String(thrown);
  if (!text.includes('\n')) return text.trim();
  // `split(/\s*\n\s*/)` would take quadratic time in a run of spaces.
  const lines = text.split('\n').map((line) => line.trim());
  return lines.filter((line) => line !== '').join(' ');
}

/** Maximum number of causes in a stack trace. A chain of causes can be circular. */
const MAX_CAUSES = 8;

/** Returns the stack trace of a thrown value and of its causes. */
export function formatStack(thrown: unknown): string {
  const stacks: string[] = [];
  let error = thrown;
  while (error !== undefined && stacks.length <= MAX_CAUSES) {
    stacks.push(error instanceof Error ? (error.stack ?? getErrorMessage(error)) : getErrorMessage(error));
    error = error instanceof Error ? error.cause : undefined;
  }
  return stacks.join('\ncaused by ');
}
