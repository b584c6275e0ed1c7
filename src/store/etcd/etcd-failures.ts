import { type ServiceError, status } from '@grpc/grpc-js';
import { EtcdError, type EtcdErrorKind } from './etcd-api.js';

function isServiceError(error: unknown): error is ServiceError {
  return typeof (error as ServiceError | undefined)?.code === 'number';
}

const SILENT_CODES: ReadonlySet<number> = new Set([status.UNAVAILABLE, status.DEADLINE_EXCEEDED, status.INTERNAL]);

/** Returns whether an error means that the member doesn't work, so that another one can answer. */
export function isWithoutAnswer(error: unknown): boolean {
  return isServiceError(error) ? SILENT_CODES.has(error.code) : error instanceof EtcdError;
}

/** Returns whether the token of the user has expired, or is from before a change of users and roles. */
export function isTokenError(error: unknown): boolean {
  return isServiceError(error) && /invalid auth token|revision of auth store is old/.test(error.details);
}

/** Converts the error of a call of the gRPC library. */
export function createEtcdError(error: unknown): EtcdError {
  if (error instanceof EtcdError) return error;
  if (!isServiceError(error)) return new EtcdError('unreachable', String(error));
  return new EtcdError(toErrorKind(error), toMessage(error.details));
}

const PERMISSION_DENIED = 'etcdserver: permission denied';

/** Texts of the gRPC library, which doesn't know that the server is etcd, and what they mean. */
const LIBRARY_TEXTS: readonly (readonly [RegExp, string])[] = [
  [/^Deadline exceeded/, 'it has not answered in time'],
  [/^Channel closed/, 'no connection: the last attempt had no answer'],
  [/^Connection dropped/, 'the connection was lost'],
];

/** Formats the text of an error for people: of a failed connection only the reason, and of a failed handshake only the alert. */
function toMessage(details: string): string {
  if (details === PERMISSION_DENIED) return `${details}; the user needs readwrite permission for the prefix`;
  const meaning = LIBRARY_TEXTS.find(([text]) => text.test(details))?.[1];
  if (meaning !== undefined) return meaning;
  const [, last] =
    /^No connection established\. Last error: (.*?)(?: \([\d-]+T[\d:.]+Z\))?\. Resolution note: ?.*$/s.exec(details) ??
    [];
  const [, alert] = /:SSL routines:[^:]*:([^:]*):/.exec(last ?? '') ?? [];
  return last === undefined ? details : `no connection: ${alert ?? last.replace(/^Error: /, '')}`;
}

function toErrorKind({ code, details }: ServiceError): EtcdErrorKind {
  if (/requested lease not found/.test(details)) return 'lease_lost';
  if (/database space exceeded/.test(details)) return 'no_space';
  switch (code) {
    case status.UNAUTHENTICATED:
    case status.PERMISSION_DENIED:
      return 'denied';
    case status.INVALID_ARGUMENT:
      return /user name is empty|authentication failed|authentication is not enabled/.test(details)
        ? 'denied'
        : 'rejected';
    case status.OUT_OF_RANGE:
    case status.FAILED_PRECONDITION:
    case status.UNIMPLEMENTED:
      return 'rejected';
    default:
      return 'unreachable';
  }
}
