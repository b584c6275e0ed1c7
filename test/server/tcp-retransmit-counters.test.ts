import { describe, expect, it } from 'vitest';
import { parseRetransmitCount, readRetransmitCount } from '../../src/server/tcp-retransmit-counters.js';

const SNMP = `Ip: Forwarding RetransSegs
Ip: 1 99
Tcp: RtoAlgorithm RetransSegs InErrs
Tcp: 1 300 5
`;
const NETSTAT = `TcpExt: SyncookiesSent TCPTimeouts TCPWinProbe TCPLossProbes
TcpExt: 0 20 1 200
IpExt: InNoRoutes
IpExt: 0
`;

describe('the retransmission count', () => {
  it('is the sum of retransmissions, timeouts and window probes, without tail loss probes', () => {
    expect(parseRetransmitCount(`${SNMP.replace('Ip: Forwarding RetransSegs\nIp: 1 99\n', '')}${NETSTAT}`)).toBe(121);
  });

  it.each([
    ['a counter is missing', `${SNMP}${NETSTAT.replace(' TCPWinProbe', '')}`],
    ['there are names without numbers', `${SNMP}TcpExt: SyncookiesSent TCPTimeouts TCPWinProbe TCPLossProbes\n`],
    ['a number is missing', `${SNMP}${NETSTAT.replace(' 20 1 200', ' 20')}`],
    ['the text is empty', ''],
  ])('is undefined if %s', (_what, text) => {
    expect(parseRetransmitCount(text)).toBeUndefined();
  });

  it.runIf(process.platform === 'linux')('is a number on Linux', async () => {
    expect(await readRetransmitCount()).toEqual(expect.any(Number));
  });
});
