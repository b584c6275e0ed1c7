import { ServerInterceptingCall, type ServerInterceptor, ServerListenerBuilder, status } from '@grpc/grpc-js';
import { bearerToken, type TokenSet, tokenDigest } from '../credentials/token-set.js';
import { isOpenMethod } from './open-methods.js';

const ADVICE = 'give one with --call-token-file or in ANYSERVE_CALL_TOKEN';

/** Turns calls without a token away before anything of their message is read. */
export function callGuard(tokens: () => TokenSet): ServerInterceptor {
  return ({ path }, call) => {
    if (isOpenMethod(path)) return new ServerInterceptingCall(call);
    return new ServerInterceptingCall(call, {
      start(next) {
        const listener = new ServerListenerBuilder().withOnReceiveMetadata((metadata, pass) => {
          const shown = bearerToken(metadata.get('authorization').map(String));
          if (shown !== undefined && tokens().prefixesOf(tokenDigest(shown)).length > 0) return pass(metadata);
          const needed = shown === undefined ? 'in authorization: Bearer TOKEN' : 'and the token shown is none';
          call.sendStatus({ code: status.UNAUTHENTICATED, details: `this needs a call token, ${needed}; ${ADVICE}` });
        });
        next(listener.build());
      },
    });
  };
}
