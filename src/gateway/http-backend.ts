import type { ServerResponse } from 'node:http';
import type { HttpCaller, OpenHttpCall } from '../client/http-calls/http-caller.js';
import { DEFAULTS } from '../core/defaults.js';
import type { BackendCall, CallBackend, OpenResponse } from './call-backend.js';
import { isEventStream, type RelayEnd, type RelayOptions, relayResponse } from './response-relay.js';

/** Options of an {@link HttpBackend}. */
export interface HttpBackendOptions {
  readonly caller: HttpCaller;
  /** Selects the request headers to pass on. */
  readonly filterHeaders: (rawHeaders: readonly string[]) => string[];
}

/** Passes requests to replicas with an HTTP endpoint, and their responses to the caller, byte for byte. */
export class HttpBackend implements CallBackend {
  readonly protocol = 'http';
  readonly #options: HttpBackendOptions;

  constructor(options: HttpBackendOptions) {
    this.#options = options;
  }

  supports(): boolean {
    return true;
  }

  open(call: BackendCall): Promise<OpenResponse> {
    const { caller, filterHeaders } = this.#options;
    const { request, path } = call;
    const timeoutMs = path.isText ? DEFAULTS.textCallTimeoutMs : DEFAULTS.callTimeoutMs;
    const opened = caller.open(
      call.discovery,
      {
        method: request.method ?? 'POST',
        path: path.path + call.search,
        headers: filterHeaders(request.rawHeaders),
        body: call.body,
        model: call.target,
        onAttempt: call.onAttempt,
      },
      { affinity: call.affinity, failWhenBusy: true, caller: call.caller, onBegin: call.onBegin },
      call.read.isStream ? DEFAULTS.streamTimeoutMs : timeoutMs,
    );
    return opened.then(toResponse);
  }
}

function toResponse(opened: OpenHttpCall): OpenResponse {
  return new OpenHttpResponse(opened);
}

class OpenHttpResponse implements OpenResponse {
  readonly keepsRequest = false;
  readonly #opened: OpenHttpCall;

  constructor(opened: OpenHttpCall) {
    this.#opened = opened;
  }

  get replicaId(): OpenResponse['replicaId'] {
    return this.#opened.attempt.target.replicaId;
  }

  get status(): number {
    return this.#opened.response.head.status;
  }

  get isEventStream(): boolean {
    return isEventStream(this.#opened.response.head.headers);
  }

  send(
    response: ServerResponse,
    options: RelayOptions,
    isAbandoned: () => boolean,
    onEnd: (end: RelayEnd) => void,
  ): void {
    const { response: incoming, attempt, end } = this.#opened;
    relayResponse(incoming, response, options, (relayed) => {
      if (relayed.error === undefined) attempt.succeed();
      else if (isAbandoned()) attempt.abandon();
      else attempt.recordFailure(relayed.error);
      end();
      onEnd(relayed);
    });
  }
}
