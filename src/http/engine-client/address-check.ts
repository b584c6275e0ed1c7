import { BlockList, isIP, isIPv6 } from 'node:net';
import { AnyserveError } from '../../core/errors.js';
import { quote } from '../../core/quoting.js';
import { type AddressCheck, isLinkLocal } from './upstream-address.js';

/** Addresses that are not reachable from the internet: RFC 1918, RFC 4193, RFC 6598 and loopback. */
const PRIVATE = createAddressList(
  ['127.0.0.0/8', '10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', '::1/128', 'fc00::/7'],
  '',
);

/**
 * Creates the check of the addresses that engines can have. `allowed`: networks such as `10.0.0.0/8`; empty for all but link-local
 * addresses. A key is not sent in plaintext to a public address. Throws `usage` for an invalid network; its message begins with
 * `place`, the name of the option.
 */
export function createAddressCheck(
  allowed: readonly string[],
  place: string,
  hasKey: (origin: string) => boolean,
): AddressCheck {
  const list = allowed.length > 0 ? createAddressList(allowed, `${place}: `) : undefined;
  return (address, origin) => {
    const isAllowed = list ? isListed(list, address) : !isLinkLocal(address);
    const isExposed = origin.startsWith('http:') && hasKey(origin) && !isListed(PRIVATE, address);
    return isAllowed && !isExposed;
  };
}

function createAddressList(networks: readonly string[], place: string): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    const [address = '', bits] = network.split('/');
    const family = isIPv6(address) ? 'ipv6' : 'ipv4';
    const maxBits = family === 'ipv6' ? 128 : 32;
    const prefix = bits === undefined ? maxBits : Number(bits);
    const isValid = isIP(address) !== 0 && /^\d{1,3}$/.test(bits ?? '0') && prefix <= maxBits;
    if (!isValid)
      throw new AnyserveError(
        'usage',
        `${place}${quote(network)} is not a network; give an address or one such as 10.0.0.0/8`,
      );
    list.addSubnet(address, prefix, family);
  }
  return list;
}

function isListed(list: BlockList, address: string): boolean {
  return list.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
}
