import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A row of the list, as the Python server sends it. */
export interface ListedRow {
  readonly replica_id: string;
  readonly endpoint: string;
  readonly capabilities: readonly object[];
}

/** A server that ignores all headers. */
export interface IgnoringServer {
  readonly url: string;
  /** The path of each request, and the protocol that it asks for. */
  readonly requests: readonly string[];
  close(): void;
}

/**
 * Starts a server that ignores all headers, as the Python server does. It always routes to the first replica. With
 * `watchEvents`, it can be watched, and with `explanation`, it explains queries, as earlier versions can.
 */
export async function startIgnoringServer(
  replicas: readonly ListedRow[],
  watchEvents?: string,
  explanation?: object,
): Promise<IgnoringServer> {
  const { endpoint, replica_id } = replicas[0] as ListedRow;
  const bodies: Readonly<Record<string, object>> = {
    '/route': { endpoint, replica_id },
    '/registry': { replicas },
    ...(explanation && { '/explain': explanation }),
  };
  const requests: string[] = [];
  const server = createServer(({ url, headers }: IncomingMessage, response) => {
    const path = url?.split('?')[0] ?? '';
    requests.push(`${path} ${headers['x-anyserve-protocol']}`);
    if (path === '/watch' && watchEvents !== undefined) {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(watchEvents);
      return;
    }
    const body = bodies[path];
    response.writeHead(body ? 200 : 404, { 'content-type': 'application/json' });
    response.end(JSON.stringify(body ?? { detail: 'Not Found' }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const close = (): void => {
    server.closeAllConnections();
    server.close();
  };
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests, close };
}
