import { BinaryReader } from '@bufbuild/protobuf/wire';

/*
 * The trailing metadata of gRPC calls, apart from the service: a client of HTTP replicas alone must not load the code for messages.
 */

/** Keys of the trailing metadata with the load of a worker. */
export const LOAD_KEYS = {
  running: 'anyserve-running',
  waiting: 'anyserve-waiting',
  limit: 'anyserve-limit',
} as const;

/** Key of the trailing metadata with the time for which a replica asks not to be called, in ms (gRFC A6). */
export const PUSH_BACK_KEY = 'grpc-retry-pushback-ms';

const RETRY_INFO_TYPE = 'type.googleapis.com/google.rpc.RetryInfo';

/**
 * Reads the delay of a `google.rpc.RetryInfo` from the details of a `google.rpc.Status`, which are the metadata
 * `grpc-status-details-bin`. Returns ms, or undefined if there is none or the bytes are malformed.
 * Source: https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto
 */
export function parseRetryInfoMs(statusDetails: Uint8Array): number | undefined {
  try {
    for (const detail of readMessages(statusDetails, 3)) {
      const [type] = readMessages(detail, 1);
      if (type === undefined || new TextDecoder().decode(type) !== RETRY_INFO_TYPE) continue;
      const [value] = readMessages(detail, 2);
      const [delay] = value ? readMessages(value, 1) : [];
      return delay && readDurationMs(delay);
    }
  } catch {
    // The status itself is valid, so malformed details are ignored.
  }
  return undefined;
}

/** Returns the bytes of each field with this number. */
function readMessages(bytes: Uint8Array, number: number): Uint8Array[] {
  const reader = new BinaryReader(bytes);
  const found: Uint8Array[] = [];
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === number) found.push(reader.bytes());
    else reader.skip(wireType);
  }
  return found;
}

/** Reads a `google.protobuf.Duration`. */
function readDurationMs(bytes: Uint8Array): number {
  const reader = new BinaryReader(bytes);
  let ms = 0;
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === 1) ms += Number(reader.int64()) * 1000;
    else if (field === 2) ms += reader.int32() / 1e6;
    else reader.skip(wireType);
  }
  return ms;
}
