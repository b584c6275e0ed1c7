/** The parts of grpc-js that a client needs. Its main module also loads servers, load balancers and service descriptions. */
// In the order of the library itself: its files import each other in cycles.
import '@grpc/grpc-js/build/src/call-credentials.js';
import '@grpc/grpc-js/build/src/channel.js';
import { ChannelCredentials } from '@grpc/grpc-js/build/src/channel-credentials.js';
import * as pickFirst from '@grpc/grpc-js/build/src/load-balancer-pick-first.js';
import { setLoggerVerbosity } from '@grpc/grpc-js/build/src/logging.js';
import * as dns from '@grpc/grpc-js/build/src/resolver-dns.js';
import * as ip from '@grpc/grpc-js/build/src/resolver-ip.js';
import * as uds from '@grpc/grpc-js/build/src/resolver-uds.js';

export { Client } from '@grpc/grpc-js/build/src/client.js';
export { ConnectivityState as connectivityState } from '@grpc/grpc-js/build/src/connectivity-state.js';
export { LogVerbosity as logVerbosity, Status as status } from '@grpc/grpc-js/build/src/constants.js';
export { Metadata } from '@grpc/grpc-js/build/src/metadata.js';
export { setLoggerVerbosity as setLogVerbosity };

export const credentials = {
  createInsecure: ChannelCredentials.createInsecure,
  createFromSecureContext: ChannelCredentials.createFromSecureContext,
};

for (const part of [dns, ip, uds, pickFirst]) part.setup();
