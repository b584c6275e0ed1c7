import { afterEach, describe, expect, it, vi } from 'vitest';
import { resolveUpstreamProxy } from '../../../src/client/engine/upstream-proxy.js';

afterEach(() => vi.unstubAllEnvs());

/** Returns the proxy for a URL with only these environment variables. */
async function findProxy(url: string, variables: Readonly<Record<string, string>>): Promise<string | undefined> {
  for (const name of ['http_proxy', 'https_proxy', 'all_proxy', 'no_proxy']) {
    for (const spelled of [name, name.toUpperCase()]) vi.stubEnv(spelled, variables[spelled]);
  }
  const proxy = await resolveUpstreamProxy(url, process.env);
  const tunnel = proxy?.tunnel as { readonly proxy: URL } | undefined;
  return (proxy?.forward?.url ?? tunnel?.proxy)?.href;
}

describe('NO_PROXY', () => {
  it.each<[string, string, boolean]>([
    ['http://10.1.2.3:8000/v1', '10.0.0.0/8', true],
    ['http://10.1.2.3:8000/v1', '.svc,10.1.2.3/32', true],
    ['http://11.1.2.3:8000/v1', '10.0.0.0/8', false],
    ['http://10.1.2.3:8000/v1', '0.0.0.0/0', true],
    ['http://10.1.2.3:8000/v1', '10.0.0.0/', false],
    ['http://10.1.2.3:8000/v1', '10.0.0.0/33', false],
    ['http://10.1.2.3:8000/v1', '10.0.0.0/x', false],
    ['http://10.1.2.3:8000/v1', 'fd00::/8', false],
    ['http://[fd00::5]:8000/v1', 'fd00::/8', true],
    ['http://[fd00::5]:8000/v1', 'fe80::/10', false],
    ['http://[::1]:8000/v1', '::1', true],
    ['http://[::1]:8000/v1', '[::1]', true],
    ['http://[::1]:8000/v1', '[::1]:8000', true],
    ['http://[::1]:8000/v1', '[::1]:9000', false],
    ['http://[::1]:8000/v1', '0:0:0:0:0:0:0:1', true],
    ['http://GPU7.example:8000/v1', 'Gpu7.Example', true],
    ['http://gpu7.example:8000/v1', '.example:8000', true],
    ['http://gpu7.example:8000/v1', '.example:9000', false],
  ])('%s with %s: connects directly: %s', async (url, no_proxy, isDirect) => {
    const proxy = await findProxy(url, { HTTP_PROXY: 'http://proxy:3128', no_proxy });
    expect(proxy).toBe(isDirect ? undefined : 'http://proxy:3128/');
  });
});

describe('a proxy without a scheme', () => {
  it('is an http proxy, even for an https URL', async () => {
    expect(await findProxy('http://engine:8000/v1', { HTTP_PROXY: 'proxy:3128' })).toBe('http://proxy:3128/');
    expect(await findProxy('https://engine:8000/v1', { https_proxy: 'proxy:3128' })).toBe('http://proxy:3128/');
  });

  it('keeps an explicit scheme', async () => {
    const https_proxy = 'https://proxy:3128';
    expect(await findProxy('https://engine:8000/v1', { https_proxy })).toBe('https://proxy:3128/');
  });
});
