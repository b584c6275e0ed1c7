import { BinaryReader } from '@bufbuild/protobuf/wire';
import type { ClientGrpcMethod } from './service-definition.js';

/** `ServingStatus.SERVING`: the server accepts calls. */
const SERVING = 1;

/**
 * The method `grpc.health.v1.Health/Check` for the whole server, which is the empty service name. The response is whether the
 * server accepts calls. Written by hand, because the official library depends on a loader of proto files, while the request
 * is empty and the response is one number.
 */
export const HEALTH_CHECK_METHOD: ClientGrpcMethod<undefined, boolean> = {
  path: '/grpc.health.v1.Health/Check',
  requestSerialize: () => Buffer.alloc(0),
  responseDeserialize: (bytes) => readServingStatus(bytes) === SERVING,
};

/** Reads field 1 of a `HealthCheckResponse`. */
function readServingStatus(bytes: Uint8Array): number {
  const reader = new BinaryReader(bytes);
  let status = 0;
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === 1) status = reader.int32();
    else reader.skip(wireType);
  }
  return status;
}
