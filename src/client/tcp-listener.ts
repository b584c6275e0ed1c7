import { connect } from 'node:net';
import { toSocketAddress } from '../core/endpoint.js';
import type { Endpoint } from '../core/ids.js';

/** Longest time for a connection, in ms. A listener of this machine takes one within a millisecond. */
const LIMIT_MS = 1000;

/** The address at which something takes connections for an endpoint; undefined when nothing does, or not in time. */
export function findListener(endpoint: Endpoint): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect(toSocketAddress(endpoint));
    const settle = (address: string | undefined): void => {
      resolve(address);
      socket.destroy();
    };
    socket.setTimeout(LIMIT_MS, () => settle(undefined));
    socket.once('connect', () => {
      const { remoteAddress, remotePort, remoteFamily } = socket;
      if (remoteAddress === undefined) settle(endpoint);
      else settle(remoteFamily === 'IPv6' ? `[${remoteAddress}]:${remotePort}` : `${remoteAddress}:${remotePort}`);
    });
    socket.on('error', () => settle(undefined));
  });
}
