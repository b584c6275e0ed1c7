/** What a caller needs of the gRPC library, which loads its servers, balancers and service descriptions with the rest. */
// First, as the library itself does, whose files load each other in turns.
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
