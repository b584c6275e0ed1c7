import { BlockList, isIP } from 'node:net';
import { AnyserveError } from '../core/errors.js';
import type { HttpProxy } from '../http/http-client.js';

/** A forward proxy that requests to a server go through. */
export interface UpstreamProxy extends HttpProxy {
  /** Its host and port, as messages show it: its URL can hold a password. */
  readonly name: string;
}

/** The variables that name a proxy. */
const VARIABLES = ['http_proxy', 'https_proxy', 'all_proxy'];

/**
 * Returns the proxy that `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, or the same in lower case, name for a URL;
 * undefined for a direct connection. The packages for it are loaded only when a variable is set. Throws `usage` for a proxy
 * that can't be used, without its user and password.
 */
export async function resolveUpstreamProxy(
  url: string,
  env: Readonly<Record<string, string | undefined>>,
): Promise<UpstreamProxy | undefined> {
  if (!VARIABLES.some((name) => env[name] || env[name.toUpperCase()]) || !URL.canParse(url)) return undefined;
  if (isListedAddress(new URL(url).hostname, env['no_proxy'] || env['NO_PROXY'] || '')) return undefined;
  const { getProxyForUrl } = await import('proxy-from-env');
  const found = getProxyForUrl(url);
  if (found === '') return undefined;
  // The package gives a proxy without a scheme that of the URL; everywhere else `proxy:3128` is an http proxy.
  const isWhole = VARIABLES.some((name) => env[name] === found || env[name.toUpperCase()] === found);
  const text = isWhole ? found : found.replace(/^https:/, 'http:');
  const proxy = URL.canParse(text) ? new URL(text) : undefined;
  if (proxy?.protocol !== 'http:' && proxy?.protocol !== 'https:') {
    const shown = proxy ? `${proxy.protocol}//${proxy.host}` : 'a value that is no URL';
    throw new AnyserveError(
      'usage',
      `${url} goes through a proxy by HTTP_PROXY, HTTPS_PROXY or ALL_PROXY, which has ${shown}; give http://HOST:PORT, or ` +
        'put the host into NO_PROXY',
    );
  }
  const headers = authorization(proxy);
  // The package prints the URL that it is given when DEBUG is set.
  proxy.username = '';
  proxy.password = '';
  const name = proxy.host;
  if (url.startsWith('http:')) return { name, forward: { url: proxy, headers } };
  const { HttpsProxyAgent } = await import('https-proxy-agent');
  return { name, tunnel: new HttpsProxyAgent(proxy, { keepAlive: true, headers }) };
}

/**
 * Whether NO_PROXY has an address in one of the forms that proxy-from-env doesn't read: in a range (`10.0.0.0/8`,
 * `fd00::/8`), or as an IPv6 address without brackets.
 */
function isListedAddress(hostname: string, noProxy: string): boolean {
  const address = hostname.replace(/^\[|\]$/g, '');
  if (isIP(address) === 0) return false;
  return noProxy.split(/[,\s]/).some((entry) => {
    const [network = '', bits] = entry.replaceAll(/[[\]]/g, '').split('/');
    if (isIP(network) !== isIP(address)) return false;
    const family = isIP(network) === 4 ? 'ipv4' : 'ipv6';
    const largest = family === 'ipv4' ? 32 : 128;
    const length = bits === undefined ? largest : Number(bits || Number.NaN);
    if (!Number.isInteger(length) || length < 0 || length > largest) return false;
    const range = new BlockList();
    range.addSubnet(network, length, family);
    return range.check(address, family);
  });
}

function authorization({ username, password }: URL): Record<string, string> {
  if (username === '' && password === '') return {};
  const text = `${decoded(username)}:${decoded(password)}`;
  return { 'proxy-authorization': `Basic ${Buffer.from(text).toString('base64')}` };
}

/** Decodes a part of a URL; one with a stray `%` stays as it is. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
