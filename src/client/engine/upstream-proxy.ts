import { BlockList, isIP } from 'node:net';
import { AnyserveError } from '../../core/errors.js';
import type { HttpProxy } from '../../http/http-client.js';

/** A forward proxy for requests to an upstream server. */
export interface UpstreamProxy extends HttpProxy {
  /** Host and port for messages. The proxy's URL is not shown because it can contain a password. */
  readonly name: string;
}

/** Environment variables that name a proxy. */
const PROXY_VARIABLES = ['http_proxy', 'https_proxy', 'all_proxy'];

/**
 * Returns the proxy for a URL according to `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in upper or lower case,
 * or undefined for a direct connection. Loads the packages for proxies only if a variable is set. Throws `usage` for a
 * proxy that can't be used; the message doesn't contain its user and password.
 */
export async function resolveUpstreamProxy(
  url: string,
  env: Readonly<Record<string, string | undefined>>,
): Promise<UpstreamProxy | undefined> {
  if (!PROXY_VARIABLES.some((name) => env[name] || env[name.toUpperCase()]) || !URL.canParse(url)) return undefined;
  if (isInNoProxy(new URL(url).hostname, env['no_proxy'] || env['NO_PROXY'] || '')) return undefined;
  const { getProxyForUrl } = await import('proxy-from-env');
  const found = getProxyForUrl(url);
  if (found === '') return undefined;
  // proxy-from-env adds the URL's scheme to a proxy without a scheme. In other programs, `proxy:3128` is an http proxy.
  const hasScheme = PROXY_VARIABLES.some((name) => env[name] === found || env[name.toUpperCase()] === found);
  const text = hasScheme ? found : found.replace(/^https:/, 'http:');
  const proxy = URL.canParse(text) ? new URL(text) : undefined;
  if (proxy?.protocol !== 'http:' && proxy?.protocol !== 'https:') {
    const value = proxy ? `${proxy.protocol}//${proxy.host}` : 'not a valid URL';
    throw new AnyserveError(
      'usage',
      `cannot use the proxy for ${url}: HTTP_PROXY, HTTPS_PROXY or ALL_PROXY is ${value}; set it to http://HOST:PORT, or ` +
        'add the host to NO_PROXY',
    );
  }
  const headers = createAuthorizationHeader(proxy);
  // Removed because https-proxy-agent prints its URL if DEBUG is set.
  proxy.username = '';
  proxy.password = '';
  const name = proxy.host;
  if (url.startsWith('http:')) return { name, forward: { url: proxy, headers } };
  const { HttpsProxyAgent } = await import('https-proxy-agent');
  return { name, tunnel: new HttpsProxyAgent(proxy, { keepAlive: true, headers }) };
}

/**
 * Returns whether NO_PROXY contains an address in a form that proxy-from-env doesn't support: within a range (`10.0.0.0/8`,
 * `fd00::/8`), or as an IPv6 address without brackets.
 */
function isInNoProxy(hostname: string, noProxy: string): boolean {
  const address = hostname.replace(/^\[|\]$/g, '');
  if (isIP(address) === 0) return false;
  return noProxy.split(/[,\s]/).some((entry) => {
    const [network = '', bits] = entry.replaceAll(/[[\]]/g, '').split('/');
    if (isIP(network) !== isIP(address)) return false;
    const family = isIP(network) === 4 ? 'ipv4' : 'ipv6';
    const maxLength = family === 'ipv4' ? 32 : 128;
    const length = bits === undefined ? maxLength : Number(bits || Number.NaN);
    if (!Number.isInteger(length) || length < 0 || length > maxLength) return false;
    const range = new BlockList();
    range.addSubnet(network, length, family);
    return range.check(address, family);
  });
}

function createAuthorizationHeader({ username, password }: URL): Record<string, string> {
  if (username === '' && password === '') return {};
  const text = `${decodePart(username)}:${decodePart(password)}`;
  return { 'proxy-authorization': `Basic ${Buffer.from(text).toString('base64')}` };
}

/** Decodes a part of a URL. Returns one with a stray `%` unchanged. */
function decodePart(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
