import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';

/** A TCP server that does what a test says with each connection. */
export interface TcpServer {
  readonly origin: string;
  readonly port: number;
  /** The connections so far, in order. */
  readonly sockets: readonly Socket[];
  /** Everything received so far on each connection, as Latin-1. */
  readonly received: readonly string[];
  close(): Promise<void>;
}

/** Starts a TCP server. Calls `onData` for everything that a connection receives. */
export async function startTcpServer(
  onData: (socket: Socket, index: number) => void,
  onConnection: (socket: Socket, index: number) => void = () => {},
): Promise<TcpServer> {
  const sockets: Socket[] = [];
  const received: string[] = [];
  const server = createServer({ noDelay: true }, (socket) => {
    const index = sockets.push(socket) - 1;
    received.push('');
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      received[index] += chunk.toString('latin1');
      onData(socket, index);
    });
    onConnection(socket, index);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    origin: `http://127.0.0.1:${port}`,
    port,
    sockets,
    received,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => void server.close(resolve));
    },
  };
}
