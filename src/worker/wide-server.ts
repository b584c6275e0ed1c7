import type { Http2Server, Settings } from 'node:http2';
import { Server, type ServerOptions } from '@grpc/grpc-js';
import { FLOW_CONTROL_WINDOW_BYTES } from '../wire/grpc-options.js';

/** Maximum size of a call's headers, its metadata among them; gRPC's own libraries send half as much at most. */
const MAX_HEADER_BYTES = 16 * 1024;

/** What we touch of the library's server, none of which it promises. */
interface ServerInside {
  readonly commonServerOptions?: { settings?: Settings };
  readonly http2Servers?: ReadonlyMap<Http2Server, unknown>;
}

/**
 * A gRPC server that takes large messages without a stop. The library has an option for that, but its servers do not look
 * at it (grpc-node's pull request 3058 would have them). Should a new version have moved things, the server is
 * merely as slow as before; a test says so.
 */
export function createWideServer(options: ServerOptions): {
  readonly server: Server;
  readonly widen: () => Http2Server[];
} {
  const server = new Server(options);
  const inside = server as unknown as ServerInside;
  if (inside.commonServerOptions) {
    inside.commonServerOptions.settings = {
      ...inside.commonServerOptions.settings,
      initialWindowSize: FLOW_CONTROL_WINDOW_BYTES,
      maxHeaderListSize: MAX_HEADER_BYTES,
    };
  }
  return {
    server,
    /** To be called when it listens; returns the HTTP/2 servers that do. */
    widen() {
      const listeners = [...(inside.http2Servers?.keys() ?? [])];
      for (const listener of listeners) {
        listener.on('session', (session) => session.setLocalWindowSize(FLOW_CONTROL_WINDOW_BYTES));
      }
      return listeners;
    },
  };
}
