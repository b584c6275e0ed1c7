import { logVerbosity, setLogVerbosity } from '@grpc/grpc-js';
import type { CommandIo } from './command.js';

/** Keeps the gRPC library from writing to stderr what we report ourselves, unless its own variable asks for it. */
export function silenceGrpcLog({ env }: CommandIo): void {
  if (env['GRPC_VERBOSITY'] === undefined) setLogVerbosity(logVerbosity.NONE);
}
