import { Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { expect, it } from 'vitest';
import { toCallError } from '../../src/client/call-failure.js';

const REJECTED = 'it closes the connection at once; does it accept the certificate of --tls-cert?';
const NO_HTTP2 = 'does not speak HTTP/2: is this the port of a gRPC server?';

it.each([
  ['read ECONNRESET (2026-11-29T19:56:38.613Z). Resolution note:', REJECTED],
  ['write EPIPE (2026-11-29T19:56:38.613Z). Resolution note: ', REJECTED],
  ['Failed to connect (2026-11-29T19:56:38.613Z). Resolution note: ', REJECTED],
  ['Client network socket disconnected before secure TLS connection was established. Resolution note:', REJECTED],
  ['Protocol error (2026-11-29T19:56:38.613Z). Resolution note:', NO_HTTP2],
  ['too many open files (2026-11-29T19:56:38.613Z). Resolution note:', 'cannot connect: too many open files'],
  ['too many open files', 'cannot connect: too many open files'],
])('the failed connection "%s" is described without the time of day', (lastError, description) => {
  const details = `No connection established. Last error: ${lastError}`;
  const error: ServiceError = Object.assign(new Error(details), {
    code: status.UNAVAILABLE,
    details,
    metadata: new Metadata(),
  });
  const { code, message } = toCallError(error, 'host:1', { isSecure: true, maxMessageBytes: 1 });
  expect([code, message]).toEqual(['unavailable', `host:1: ${description}`]);
});
