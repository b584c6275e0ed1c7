import { parseEndpoint } from '../../core/endpoint.js';
import { AnyserveError } from '../../core/errors.js';

/** The members of an etcd cluster, and the keys to use there. */
export interface EtcdAddress {
  /** `host:port` of each member. */
  readonly endpoints: readonly string[];
  /** Prefix of all keys, without a slash at the end. */
  readonly prefix: string;
  readonly usesTls: boolean;
}

const DEFAULT_PORT = 2379;
const DEFAULT_PREFIX = '/anyserve';

/** Parses `etcd://host:port[,host:port][/prefix]`, or `etcds://` for TLS. Default port: 2379. Throws `usage`. */
export function parseEtcdAddress(text: string): EtcdAddress {
  const [, scheme, hosts, path = ''] = /^(etcds?):\/\/([^/?#]*)(\/[^?#]*)?$/.exec(text) ?? [];
  if (scheme === undefined || hosts === undefined) throw createAddressError(text, 'it is not an address of etcd');
  if (hosts.includes('@'))
    throw createAddressError(
      text.replace(/\/\/.*@/, '//...@'),
      'a user and a password in an address are visible to others',
    );
  const endpoints = hosts.split(',').map((host) => (/:\d+$/.test(host) ? host : `${host}:${DEFAULT_PORT}`));
  for (const endpoint of endpoints) {
    if (parseEndpoint(endpoint)?.kind !== 'tcp')
      throw createAddressError(text, `${JSON.stringify(endpoint)} is not a host and a port`);
  }
  const prefix = path.replace(/\/+$/, '');
  return { endpoints, prefix: prefix === '' ? DEFAULT_PREFIX : prefix, usesTls: scheme === 'etcds' };
}

function createAddressError(text: string, problem: string): AnyserveError {
  const form = 'give etcd://HOST:PORT[,HOST:PORT][/PREFIX], or etcds:// for TLS';
  return new AnyserveError('usage', `store ${JSON.stringify(text)}: ${problem}; ${form}`);
}
