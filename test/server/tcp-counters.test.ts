import { describe, expect, it } from 'vitest';
import { countVainWaits, vainWaitsFrom } from '../../src/server/tcp-counters.js';

const SNMP = `Ip: Forwarding RetransSegs
Ip: 1 99
Tcp: RtoAlgorithm RetransSegs InErrs
Tcp: 1 300 5
`;
const NETSTAT = `TcpExt: SyncookiesSent TCPTimeouts TCPWinProbe
TcpExt: 0 20 1
IpExt: InNoRoutes
IpExt: 0
`;

describe('the count of vain waits', () => {
  it('is the sum of what was sent again, what timed out, and what asked a closed window', () => {
    expect(vainWaitsFrom(`${SNMP.replace('Ip: Forwarding RetransSegs\nIp: 1 99\n', '')}${NETSTAT}`)).toBe(321);
  });

  it.each([
    ['a counter is missing', `${SNMP}${NETSTAT.replace(' TCPWinProbe', '')}`],
    ['there are names without numbers', `${SNMP}TcpExt: SyncookiesSent TCPTimeouts TCPWinProbe\n`],
    ['a number is missing', `${SNMP}${NETSTAT.replace(' 20 1', ' 20')}`],
    ['there is nothing', ''],
  ])('is unknown where %s', (_what, text) => {
    expect(vainWaitsFrom(text)).toBeUndefined();
  });

  it.runIf(process.platform === 'linux')('is a number that does not fall on Linux', async () => {
    const before = await countVainWaits();
    expect(before).toBeGreaterThanOrEqual(0);
    expect(await countVainWaits()).toBeGreaterThanOrEqual(before as number);
  });
});
