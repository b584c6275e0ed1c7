import type { Attributes, Context, Span, TracerProvider } from '@opentelemetry/api';
import { AnyserveError } from '../core/errors.js';
import type {
  AttemptTrace,
  CallTrace,
  EndTrace,
  ServedCall,
  ServerTracer,
  TraceDetails,
  Tracer,
} from '../core/ports.js';

type Api = typeof import('@opentelemetry/api');

type Attempt = Parameters<Tracer['startAttempt']>[0];

/** Service of the inference protocol. */
const RPC_SERVICE = 'inference.GRPCInferenceService';

/** Where the API keeps what an SDK has registered. All compatible versions of the API share it. */
const GLOBALS = Symbol.for('opentelemetry.js.api.1');

/**
 * Traces calls and attempts as spans of OpenTelemetry, with its conventions for RPC and GenAI. It only uses the API: the
 * application's SDK decides what is recorded, and where it is sent.
 */
export class OpenTelemetryTracer implements Tracer, ServerTracer {
  readonly #api: Api;
  readonly #tracer: ReturnType<TracerProvider['getTracer']>;

  constructor(api: Api, version: string) {
    this.#api = api;
    this.#tracer = api.trace.getTracer('anyserve', version);
  }

  startCall({ model }: { readonly model: string | undefined }): CallTrace {
    const parent = this.#api.context.active();
    const name = model === undefined ? 'call' : `call ${model}`;
    const span = this.#tracer.startSpan(name, { attributes: toAttributes({ 'gen_ai.request.model': model }) }, parent);
    const context = this.#api.trace.setSpan(parent, span);
    let code: string | undefined = 'no_replica';
    return {
      startAttempt: (attempt) =>
        this.#startAttempt(attempt, context, (ended) => {
          code = ended;
        }),
      end: () => this.#endSpan(span, code === 'ok' ? undefined : code),
    };
  }

  startAttempt(attempt: Attempt): AttemptTrace {
    return this.#startAttempt(attempt, this.#api.context.active(), () => {});
  }

  serve<T>({ protocol, method, getHeader }: ServedCall, handle: (end: EndTrace) => T): T {
    const { propagation, context, trace, SpanKind } = this.#api;
    const getter = { keys: () => [], get: (_carrier: undefined, name: string) => getHeader(name) };
    const parent = propagation.extract(context.active(), undefined, getter);
    const [name, attributes] =
      protocol === 'grpc'
        ? [`${RPC_SERVICE}/${method}`, { 'rpc.system': 'grpc', 'rpc.service': RPC_SERVICE, 'rpc.method': method }]
        : [method, { 'http.request.method': method }];
    const span = this.#tracer.startSpan(name, { kind: SpanKind.SERVER, attributes }, parent);
    return context.with(trace.setSpan(parent, span), () =>
      handle(({ error, details = {}, name: lastName }) => {
        if (lastName !== undefined) span.updateName(lastName);
        span.setAttributes(toAttributes(details));
        this.#endSpan(span, error);
      }),
    );
  }

  annotate(details: TraceDetails): void {
    this.#api.trace.getActiveSpan()?.setAttributes(toAttributes(details));
  }

  #startAttempt({ target, attempt }: Attempt, parent: Context, onEnd: (code: string) => void): AttemptTrace {
    const { endpoint, replicaId } = target;
    const isHttp = /^https?:/.test(endpoint);
    const { hostname, port } = new URL(isHttp ? endpoint : `grpc://${endpoint}`);
    const attributes = toAttributes({
      ...(isHttp
        ? { 'http.request.method': 'POST', 'url.full': endpoint }
        : { 'rpc.system': 'grpc', 'rpc.service': RPC_SERVICE }),
      'server.address': hostname,
      'server.port': port === '' ? undefined : Number(port),
      'anyserve.replica.id': replicaId,
      'anyserve.attempt': attempt,
    });
    const { SpanKind, trace, propagation } = this.#api;
    const span = this.#tracer.startSpan(isHttp ? 'POST' : RPC_SERVICE, { kind: SpanKind.CLIENT, attributes }, parent);
    const headers: Record<string, string> = {};
    propagation.inject(trace.setSpan(parent, span), headers);
    return {
      headers,
      end: ({ code }) => {
        onEnd(code);
        this.#endSpan(span, code === 'ok' ? undefined : code);
      },
    };
  }

  #endSpan(span: Span, error: string | undefined): void {
    if (error !== undefined) {
      span.setAttribute('error.type', error);
      span.setStatus({ code: this.#api.SpanStatusCode.ERROR });
    }
    span.end();
  }
}

function toAttributes(details: TraceDetails): Attributes {
  return Object.fromEntries(Object.entries(details).filter(([, value]) => value !== undefined));
}

/** Creates a tracer. Throws `usage` if the package `@opentelemetry/api` is not installed. */
export async function createOpenTelemetryTracer(version: string): Promise<OpenTelemetryTracer> {
  try {
    return new OpenTelemetryTracer(await import('@opentelemetry/api'), version);
  } catch (cause) {
    throw new AnyserveError('usage', 'tracing needs the package @opentelemetry/api: npm install @opentelemetry/api', {
      cause,
    });
  }
}

/** Creates a tracer if an SDK is registered in this process, for example by `node --import`. Else the API isn't loaded. */
export async function findOpenTelemetryTracer(version: string): Promise<OpenTelemetryTracer | undefined> {
  const globals = (globalThis as { [GLOBALS]?: { readonly trace?: unknown } })[GLOBALS];
  return globals?.trace === undefined ? undefined : createOpenTelemetryTracer(version);
}
