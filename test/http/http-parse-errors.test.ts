import { createServer } from 'node:https';
import { type AddressInfo, connect } from 'node:net';
import { expect, it } from 'vitest';
import { respondToParseError } from '../../src/http/http-parse-errors.js';
import { createAuthority } from '../support/certificates.js';
import { until } from '../support/until.js';

it('closes a connection that never completes its TLS handshake', async () => {
  const { cert, key } = createAuthority().sign('server');
  const server = createServer({ cert, key, handshakeTimeout: 100 });
  server.on('clientError', (error, socket) => respondToParseError(error, socket, (detail) => detail));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const silent = connect((server.address() as AddressInfo).port, '127.0.0.1');
  try {
    await until('it is closed', () => silent.closed);
    expect(silent.bytesRead).toBe(0);
  } finally {
    silent.destroy();
    server.close();
  }
});
