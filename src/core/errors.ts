import { truncateText } from './quoting.js';

/**
 * What went wrong, as a closed list. A row is the only place where a failure meets HTTP, gRPC and the shell:
 * `http` is the status code, `grpc` the canonical status number, `exit` the exit code of the command line.
 * `final` failures would be the same at every replica, so nobody retries them.
 */
const CODES = {
  // The canonical gRPC statuses, as a call to a replica ends with them.
  cancelled: { http: 499, grpc: 1, exit: 5, final: false },
  unknown: { http: 500, grpc: 2, exit: 5, final: false },
  invalid_argument: { http: 400, grpc: 3, exit: 5, final: true },
  deadline_exceeded: { http: 504, grpc: 4, exit: 5, final: false },
  not_found: { http: 404, grpc: 5, exit: 5, final: false },
  already_exists: { http: 409, grpc: 6, exit: 5, final: false },
  permission_denied: { http: 403, grpc: 7, exit: 5, final: true },
  resource_exhausted: { http: 429, grpc: 8, exit: 5, final: false },
  failed_precondition: { http: 412, grpc: 9, exit: 5, final: false },
  aborted: { http: 409, grpc: 10, exit: 5, final: false },
  out_of_range: { http: 400, grpc: 11, exit: 5, final: true },
  unimplemented: { http: 501, grpc: 12, exit: 5, final: false },
  internal: { http: 500, grpc: 13, exit: 5, final: false },
  unavailable: { http: 503, grpc: 14, exit: 5, final: false },
  data_loss: { http: 500, grpc: 15, exit: 5, final: false },
  unauthenticated: { http: 401, grpc: 16, exit: 5, final: true },
  // Our own, outside of a call.
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

/** One of the closed list of failures. Branch on it, never on a message. */
export type ErrorCode = keyof typeof CODES;

/** Maximum length of a message, in UTF-16 units. What it quotes can come from anyone, and be as long as they like. */
const MAX_MESSAGE = 4096;

/** The one error class: a code, a message of one line for a person, and the cause, which never leaves the process. */
export class AnyserveError extends Error {
  override readonly name = 'AnyserveError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(truncateText(message, MAX_MESSAGE), options);
    this.code = code;
  }

  /** The canonical gRPC status number that stands for this failure. */
  get grpcStatus(): number {
    return CODES[this.code].grpc;
  }

  /** The exit code of a command that ends with this failure. */
  get exitCode(): number {
    return CODES[this.code].exit;
  }

  /** Whether another replica, or another try, would fail alike. */
  get final(): boolean {
    return CODES[this.code].final;
  }
}

/**
 * Whether a thrown value is an {@link AnyserveError}, be it of another copy of this file: the command line's bundle has
 * one, and the commands that are not in it have another.
 */
export function isAnyserveError(thrown: unknown): thrown is AnyserveError {
  return thrown instanceof Error && thrown.name === 'AnyserveError' && 'code' in thrown;
}

const byGrpcStatus = new Map<number, ErrorCode>();
for (const [code, row] of Object.entries(CODES)) {
  // The canonical rows come first, so they win over our own with the same number.
  if (!byGrpcStatus.has(row.grpc)) byGrpcStatus.set(row.grpc, code as ErrorCode);
}

/** The HTTP status code that stands for a failure. */
export function toHttpStatus(code: ErrorCode): number {
  return CODES[code].http;
}

/** The code of a call that ended with this gRPC status number; `unknown` for one that is not canonical. */
export function toErrorCode(status: number): ErrorCode {
  return byGrpcStatus.get(status) ?? 'unknown';
}

/** Returns what a thrown value says, in one line: the lines of a message are joined, other values printed. */
export function getErrorMessage(thrown: unknown): string {
  const text = thrown instanceof Error ? thrown.message || thrown.name : String(thrown);
  if (!text.includes('\n')) return text.trim();
  // Line by line: /\s*\n\s*/ takes time in the square of a run of spaces.
  const lines = text.split('\n').map((line) => line.trim());
  return lines.filter((line) => line !== '').join(' ');
}
