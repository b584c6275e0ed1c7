import { lookup } from 'node:dns';
import { BlockList, isIPv6, type LookupFunction } from 'node:net';

/** Decides whether a connection for an origin can be opened to an IP address. */
export type AddressCheck = (address: string, origin: string) => boolean;

/**
 * Link-local addresses, also as IPv6 addresses that a NAT64 gateway translates, and others where clouds serve credentials.
 * `BlockList` knows the IPv4-mapped ones.
 */
const LINK_LOCAL = new BlockList();
LINK_LOCAL.addSubnet('169.254.0.0', 16, 'ipv4');
LINK_LOCAL.addSubnet('fe80::', 10, 'ipv6');
LINK_LOCAL.addSubnet('64:ff9b::a9fe:0', 112, 'ipv6');
// 6to4 and IPv4-compatible addresses, which contain an IPv4 address too.
LINK_LOCAL.addSubnet('2002:a9fe::', 32, 'ipv6');
LINK_LOCAL.addSubnet('::a9fe:0', 112, 'ipv6');
// The same services of clouds at other addresses: AWS, Google Cloud and Oracle with IPv6, Alibaba Cloud and Azure.
for (const address of ['fd00:ec2::254', 'fd20:ce::254', 'fd00:c1::a9fe:a9fe']) LINK_LOCAL.addAddress(address, 'ipv6');
for (const address of ['100.100.100.200', '168.63.129.16']) LINK_LOCAL.addAddress(address, 'ipv4');

/**
 * Returns whether an IP address is link-local, or serves the credentials of a machine elsewhere. Cloud providers serve the credentials of a machine at 169.254.169.254, and anybody
 * who can register a replica chooses the address that is called.
 */
export function isLinkLocal(address: string): boolean {
  const withoutZone = address.replace(/%.*/s, '');
  return LINK_LOCAL.check(withoutZone, isIPv6(withoutZone) ? 'ipv6' : 'ipv4');
}

/**
 * Creates a DNS lookup that leaves out addresses that are not allowed. Each connection uses the addresses that were checked for it,
 * so a name can't pass the check with one address and then resolve to another.
 */
export function createLookup(isAllowed: (address: string) => boolean): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, found) => {
      if (error) return callback(error, []);
      const addresses = found.filter(({ address }) => isAllowed(address));
      const [first] = addresses;
      if (!first) return callback(createRefusal(hostname, found), []);
      if (options.all) callback(null, addresses);
      else callback(null, first.address, first.family);
    });
  };
}

function createRefusal(hostname: string, found: readonly { readonly address: string }[]): NodeJS.ErrnoException {
  const list = found.map(({ address }) => address).join(', ');
  return new Error(`${hostname} resolves to ${list || 'no address'}, and connections there are not allowed`);
}
