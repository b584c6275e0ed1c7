import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { getTcpKey, readTcpTable, type TcpEntry } from '../../src/server/tcp-table.js';
import { until } from '../support/until.js';

async function findEntry(socket: Socket): Promise<TcpEntry | undefined> {
  for await (const entry of readTcpTable()) if (entry.key === getTcpKey(socket)) return entry;
  return undefined;
}

describe.runIf(process.platform === 'linux')("the kernel's table", () => {
  it.each([
    ['IPv4', '127.0.0.1', '127.0.0.1'],
    ['IPv6', '::1', '::1'],
    ['IPv4 at a dual-stack socket', '::', '127.0.0.1'],
  ])('has a connection over %s, and its unread bytes', async (_what, listenAt, connectTo) => {
    const server = createServer({ pauseOnConnect: true });
    await new Promise<void>((resolve) => server.listen(0, listenAt, resolve));
    const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
    const socket = connect((server.address() as AddressInfo).port, connectTo);
    const peer = await accepted;
    expect(await findEntry(peer)).toMatchObject({ unacknowledgedBytes: 0, isWindowClosed: false });
    // The window closes once the buffers of both ends are full.
    socket.write(Buffer.alloc(64 * 1024 * 1024));
    await until('the window is closed', async () => (await findEntry(socket))?.isWindowClosed === true);
    expect((await findEntry(socket))?.unacknowledgedBytes).toBeGreaterThan(0);
    socket.destroy();
    peer.destroy();
    server.close();
  });

  it('identifies a connection by its addresses in host byte order', () => {
    const places = { localAddress: '10.1.2.3', localPort: 8080, remoteAddress: '192.168.0.9', remotePort: 4000 };
    expect(getTcpKey(places)).toBe('0302010A:1F90 0900A8C0:0FA0');
    const six = { localAddress: 'fe80::1:ab%eth0', localPort: 1, remoteAddress: '::ffff:10.1.2.3', remotePort: 65535 };
    expect(getTcpKey(six)).toBe(`000080FE0000000000000000AB000100:0001 0000000000000000FFFF00000302010A:FFFF`);
    expect(getTcpKey({ localPort: 1, remoteAddress: '::1', remotePort: 1 })).toBeUndefined();
  });
});
