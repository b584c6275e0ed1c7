import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startProgram } from '../support/binary.js';
import { type ServerProcess, startServer } from '../support/fleet.js';
import { findFreePort } from '../support/free-port.js';
import { until } from '../support/until.js';

/** A proxy program and its configuration, which listens on port 8000 and expects the API server at 127.0.0.1:8080. */
export interface ProxySetup {
  readonly name: string;
  readonly config: string;
  readonly command: (folder: string, file: string) => readonly string[];
  /** Maximum time until the API server sees that a registrant has closed its connection to the proxy. */
  readonly noticesWithinMs: number;
}

/** An API server with a proxy in front of it. */
export interface FrontedServer {
  readonly name: string;
  readonly api: ServerProcess;
  /** The URL of the proxy. */
  readonly url: string;
  readonly noticesWithinMs: number;
}

/** nginx as a single process in the foreground that writes only to its own folder. */
const formatNginxConfig = (server: string): string => `user root; daemon off; master_process off; pid nginx.pid;
error_log stderr; events {}
http { access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
uwsgi_temp_path uwsgi; scgi_temp_path scgi;
${server} }`;

const createNginxSetup = (name: string, server: string): ProxySetup => ({
  name: `nginx ${name}`,
  config: formatNginxConfig(server),
  command: (folder, file) => ['nginx', '-p', folder, '-c', file],
  noticesWithinMs: 1000,
});

const createHaproxySetup = (name: string, config: string, noticesWithinMs: number): ProxySetup => ({
  name: `HAProxy ${name}`,
  config,
  command: (_folder, file) => ['haproxy', '-db', '-f', file],
  noticesWithinMs,
});

const page = readFileSync(fileURLToPath(new URL('../../docs/proxies.md', import.meta.url)), 'utf8');

/** Returns the configuration that docs/proxies.md recommends for a proxy. */
function readDocumentedConfig(language: string): string {
  const text = page.split(`\`\`\`${language}\n`)[1]?.split('```')[0];
  if (!text) throw new Error(`docs/proxies.md has no configuration for ${language}`);
  return text;
}

const HAPROXY_DEBIAN = `defaults
    mode http
    timeout connect 5000
    timeout client  50000
    timeout server  50000
listen all
    bind :8000
    server api 127.0.0.1:8080
`;

/** Each proxy with its defaults and with the configuration that docs/proxies.md recommends. */
export const SETUPS: readonly ProxySetup[] = [
  createNginxSetup('with its defaults', 'server { listen 8000; location / { proxy_pass http://127.0.0.1:8080; } }'),
  createNginxSetup('as documented', readDocumentedConfig('nginx')),
  // By default, haproxy notices a closed connection only when it forwards the next heartbeat. The interval is 2 s.
  createHaproxySetup('with the defaults of its Debian package', HAPROXY_DEBIAN, 3000),
  createHaproxySetup('as documented', readDocumentedConfig('haproxy'), 1000),
];

/** Starts an API server and a proxy in front of it, and resolves when the proxy forwards requests. */
export async function startFronted(setup: ProxySetup): Promise<FrontedServer> {
  const api = await startServer({ port: await findFreePort() });
  const config = setup.config.replace('127.0.0.1:8080', new URL(api.url).host);
  const url = await startProxy({ ...setup, config });
  return { name: setup.name, api, url, noticesWithinMs: setup.noticesWithinMs };
}

/**
 * Starts HAProxy, as documented, as a load balancer that sends each request to the next of several API servers. It listens on all
 * addresses. Resolves to its URL on loopback.
 */
export function startLoadBalancer(servers: readonly Pick<ServerProcess, 'url'>[]): Promise<string> {
  const lines = servers.map(({ url }, n) => `    server api${n} ${new URL(url).host} check inter 1s\n`);
  const config = readDocumentedConfig('haproxy').replace(
    '    server api1 127.0.0.1:8080 check inter 2s\n',
    `    balance roundrobin\n${lines.join('')}`,
  );
  if (!config.includes('roundrobin')) throw new Error('docs/proxies.md has no server in its configuration for HAProxy');
  return startProxy(createHaproxySetup('as a load balancer', config, 0), '*');
}

/** Starts a proxy on a free port, and resolves to its URL when it forwards requests. */
async function startProxy({ name, config, command }: ProxySetup, address = '127.0.0.1'): Promise<string> {
  const port = await findFreePort();
  const folder = mkdtempSync(join(tmpdir(), 'anyserve-proxy-'));
  const file = join(folder, 'proxy.conf');
  writeFileSync(file, config.replace(/(listen|bind) :?8000/, `$1 ${address}:${port}`));
  const proxy = startProgram(command(folder, file));
  const url = `http://127.0.0.1:${port}`;
  const isForwarding = async (): Promise<boolean> => (await fetch(`${url}/livez`).catch(() => undefined))?.ok === true;
  await until(() => `${name} forwards requests: ${proxy.stdout()}${proxy.stderr()}`, isForwarding);
  return url;
}
