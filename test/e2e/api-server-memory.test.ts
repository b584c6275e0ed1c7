import { afterEach, expect, it } from 'vitest';
import { openRawConnection } from '../support/api-server.js';
import { start, stopAll } from '../support/binary.js';
import { readPeakRssBytes } from '../support/peak-memory.js';
import { until } from '../support/until.js';

const MIB = 1024 * 1024;

afterEach(stopAll);

it('needs no more memory for a large body when it arrives in chunks of one byte', async () => {
  const server = start(['serve', '--port', '0']);
  const port = Number(await server.waitForOutput(/http:\/\/127\.0\.0\.1:(\d+)/));
  const beforeBytes = readPeakRssBytes(server.child.pid as number);
  const { socket, received } = openRawConnection(
    port,
    'POST /register HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n',
  );
  const chunks = '1\r\nx\r\n'.repeat(10_000);
  for (let sent = 0; sent < 100; sent++) {
    if (!socket.write(chunks)) await new Promise((resolve) => socket.once('drain', resolve));
  }
  socket.write('0\r\n\r\n');
  await until('there is a response', () => received().includes('json_invalid'));
  socket.destroy();
  expect(readPeakRssBytes(server.child.pid as number) - beforeBytes).toBeLessThan(100 * MIB);
});
