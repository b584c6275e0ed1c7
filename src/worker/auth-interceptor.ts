import { ServerInterceptingCall, type ServerInterceptor, ServerListenerBuilder, status } from '@grpc/grpc-js';
import { hashToken, parseBearerToken, type TokenSet } from '../credentials/token-set.js';
import { INFERENCE_SERVICE } from '../inference/service-definition.js';

/** Services that load balancers and gRPC's tools call without a token: health and reflection. */
const OPEN_SERVICES = /^\/grpc\.(health|reflection)\./;
const OPEN_METHODS: ReadonlySet<string> = new Set([
  INFERENCE_SERVICE.serverLive.path,
  INFERENCE_SERVICE.serverReady.path,
]);

/** Whether a method can be called without a token. */
export function isPublicMethod(path: string): boolean {
  return OPEN_SERVICES.test(path) || OPEN_METHODS.has(path);
}

const ADVICE = 'give one with --call-token-file or in ANYSERVE_CALL_TOKEN';

/** Rejects calls without a token before any of their message is read. */
export function createAuthInterceptor(tokens: () => TokenSet): ServerInterceptor {
  return ({ path }, call) => {
    if (isPublicMethod(path)) return new ServerInterceptingCall(call);
    return new ServerInterceptingCall(call, {
      start(next) {
        const listener = new ServerListenerBuilder().withOnReceiveMetadata((metadata, pass) => {
          const shown = parseBearerToken(metadata.get('authorization').map(String));
          if (shown !== undefined && tokens().findPrefixes(hashToken(shown)).length > 0) return pass(metadata);
          const needed = shown === undefined ? 'in authorization: Bearer TOKEN' : 'and the token shown is none';
          call.sendStatus({ code: status.UNAUTHENTICATED, details: `this needs a call token, ${needed}; ${ADVICE}` });
        });
        next(listener.build());
      },
    });
  };
}
