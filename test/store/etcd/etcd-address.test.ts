import { expect, it } from 'vitest';
import { parseEtcdAddress } from '../../../src/store/etcd/etcd-address.js';

it.each([
  ['etcd://h', { endpoints: ['h:2379'], prefix: '/anyserve', usesTls: false }],
  [
    'etcd://h:1,[::1]:2,10.0.0.1/',
    { endpoints: ['h:1', '[::1]:2', '10.0.0.1:2379'], prefix: '/anyserve', usesTls: false },
  ],
  ['etcds://h:1/team/a/', { endpoints: ['h:1'], prefix: '/team/a', usesTls: true }],
])('reads %s', (text, address) => {
  expect(parseEtcdAddress(text)).toEqual(address);
});

it.each([
  ['redis://h', 'it is not an address of etcd'],
  ['etcd://h?x', 'it is not an address of etcd'],
  ['etcd://', '":2379" is not a host and a port'],
  ['etcd://h:1,', '":2379" is not a host and a port'],
  ['etcd://h:99999', '"h:99999" is not a host and a port'],
  ['etcd://...@h', 'a user and a password in an address are visible to others'],
])('refuses %s', (text, problem) => {
  const form = 'give etcd://HOST:PORT[,HOST:PORT][/PREFIX], or etcds:// for TLS';
  expect(() => parseEtcdAddress(text)).toThrow(`store ${JSON.stringify(text)}: ${problem}; ${form}`);
});

it('does not repeat a password', () => {
  expect(() => parseEtcdAddress('etcd://u:p@h')).toThrow(/^store "etcd:\/\/\.\.\.@h": /);
});
