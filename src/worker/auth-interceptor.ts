import { ServerInterceptingCall, type ServerInterceptor, ServerListenerBuilder, status } from '@grpc/grpc-js';
import { hashToken, parseBearerToken, type TokenSet } from '../credentials/token-set.js';
import { INFERENCE_SERVICE } from '../inference/service-definition.js';

/** Health and reflection: load balancers and gRPC tools call them without a token. */
const PUBLIC_SERVICES = /^\/grpc\.(health|reflection)\./;
const PUBLIC_METHODS: ReadonlySet<string> = new Set([
  INFERENCE_SERVICE.serverLive.path,
  INFERENCE_SERVICE.serverReady.path,
]);

/** Returns whether a method can be called without a token. */
export function isPublicMethod(path: string): boolean {
  return PUBLIC_SERVICES.test(path) || PUBLIC_METHODS.has(path);
}

const ADVICE = 'set one with --call-token-file or ANYSERVE_CALL_TOKEN';

/** Creates an interceptor that rejects calls without a valid token before it reads any part of their messages. */
export function createAuthInterceptor(tokens: () => TokenSet): ServerInterceptor {
  return ({ path }, call) => {
    if (isPublicMethod(path)) return new ServerInterceptingCall(call);
    return new ServerInterceptingCall(call, {
      start(next) {
        const listener = new ServerListenerBuilder().withOnReceiveMetadata((metadata, pass) => {
          const token = parseBearerToken(metadata.get('authorization').map(String));
          if (token !== undefined && tokens().findGrant(hashToken(token))) return pass(metadata);
          const problem =
            token === undefined ? 'call token required (authorization: Bearer TOKEN)' : 'unknown call token';
          call.sendStatus({ code: status.UNAUTHENTICATED, details: `${problem}; ${ADVICE}` });
        });
        next(listener.build());
      },
    });
  };
}
