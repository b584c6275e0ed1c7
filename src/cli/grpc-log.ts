import { logVerbosity, setLogVerbosity } from '@grpc/grpc-js';
import type { CommandIo } from './command.js';

/** Silences the log of the gRPC library unless `GRPC_VERBOSITY` is set. The commands report its errors themselves. */
export function silenceGrpcLog({ env }: CommandIo): void {
  if (env['GRPC_VERBOSITY'] === undefined) setLogVerbosity(logVerbosity.NONE);
}
