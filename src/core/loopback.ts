import type { Endpoint } from './ids.js';

/** Whether a host name or address means the machine of whoever reads it. */
export function isLoopback(host: string): boolean {
  return /^(?:localhost|(?:::ffff:)?127(?:\.\d{1,3}){3}|\[?::1\]?)$/i.test(host);
}

/** Whether callers take an endpoint for one on their own machine, though another has registered it. */
export function isMisleading(endpoint: Endpoint, peer: string): boolean {
  const host = endpoint.replace(/^dns:(?:\/\/\/)?/, '').replace(/:\d*$/, '');
  return (endpoint.startsWith('unix:') || isLoopback(host)) && !isLoopback(peer);
}
