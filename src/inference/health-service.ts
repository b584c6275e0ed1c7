import { BinaryReader } from '@bufbuild/protobuf/wire';
import type { ClientGrpcMethod } from './service-definition.js';

/** The value of `ServingStatus` that says that calls are welcome. */
const SERVING = 1;

/**
 * `grpc.health.v1.Health/Check` of the server as a whole, which is the empty service name; resolves to whether it serves.
 * Written by hand: the service's library brings a loader of proto files with it, for a request of no bytes and an answer
 * of one number.
 */
export const HEALTH_CHECK_METHOD: ClientGrpcMethod<undefined, boolean> = {
  path: '/grpc.health.v1.Health/Check',
  requestSerialize: () => Buffer.alloc(0),
  responseDeserialize: (bytes) => servingStatus(bytes) === SERVING,
};

/** Field 1 of a `HealthCheckResponse`. */
function servingStatus(bytes: Uint8Array): number {
  const reader = new BinaryReader(bytes);
  let status = 0;
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === 1) status = reader.int32();
    else reader.skip(wireType);
  }
  return status;
}
