import { connect } from 'node:net';
import { toSocketAddress } from '../core/endpoint.js';
import type { Endpoint } from '../core/ids.js';

/** Timeout for a connection, in ms. A listener on this machine accepts within a millisecond. */
const LOCAL_CONNECT_TIMEOUT_MS = 1000;

/**
 * Finds the address at which a server accepts connections for an endpoint, for example `[::1]:8000` for `localhost:8000`.
 * Returns undefined if there is none, or after 1 s.
 */
export function findListener(endpoint: Endpoint): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect(toSocketAddress(endpoint));
    const settle = (address: string | undefined): void => {
      resolve(address);
      socket.destroy();
    };
    socket.setTimeout(LOCAL_CONNECT_TIMEOUT_MS, () => settle(undefined));
    socket.once('connect', () => {
      const { remoteAddress, remotePort, remoteFamily } = socket;
      if (remoteAddress === undefined) settle(endpoint);
      else settle(remoteFamily === 'IPv6' ? `[${remoteAddress}]:${remotePort}` : `${remoteAddress}:${remotePort}`);
    });
    socket.on('error', () => settle(undefined));
  });
}
