import { createServer, type IncomingMessage, request } from 'node:http';
import { type AddressInfo, connect } from 'node:net';

/** A forward proxy on loopback that requires a user and a password. */
export interface ForwardProxy {
  readonly port: number;
  /** Methods and targets of the requests so far: `GET http://...` or `CONNECT host:port`. */
  readonly asked: readonly string[];
  close(): Promise<void>;
}

/** Starts a proxy that forwards requests with absolute URLs and opens CONNECT tunnels. */
export async function startForwardProxy(userAndPassword: string): Promise<ForwardProxy> {
  const asked: string[] = [];
  const expected = `Basic ${Buffer.from(userAndPassword).toString('base64')}`;
  const isAuthorized = (message: IncomingMessage): boolean => message.headers['proxy-authorization'] === expected;
  const server = createServer((message, response) => {
    asked.push(`${message.method} ${message.url}`);
    if (!isAuthorized(message)) return void response.writeHead(407).end('who are you');
    const { 'proxy-authorization': _, 'proxy-connection': __, ...headers } = message.headers;
    const forwarded = request(message.url ?? '', { method: message.method, headers }, (upstream) => {
      response.writeHead(upstream.statusCode ?? 500, upstream.headers);
      upstream.pipe(response);
    });
    forwarded.on('error', () => response.writeHead(502).end());
    response.on('close', () => forwarded.destroy());
    message.pipe(forwarded);
  });
  server.on('connect', (message: IncomingMessage, socket) => {
    asked.push(`CONNECT ${message.url}`);
    if (!isAuthorized(message)) return void socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n');
    const [host = '', port = ''] = (message.url ?? '').split(':');
    const target = connect(Number(port), host, () => {
      socket.write('HTTP/1.1 200 Connection Established\r\n\r\n');
      socket.pipe(target).pipe(socket);
    });
    target.on('error', () => socket.destroy());
    socket.on('error', () => target.destroy());
    socket.on('close', () => target.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    asked,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
