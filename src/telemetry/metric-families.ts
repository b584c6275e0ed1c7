/** A command that serves metrics. */
export type MetricRole = 'serve' | 'gateway' | 'worker' | 'register';

/** A family of time series: one name, and a series for each combination of labels. */
export interface MetricFamily {
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  /** Names of the labels. Their values come from closed sets, or from a bounded number of models. */
  readonly labels: readonly string[];
  readonly roles: readonly MetricRole[];
}

const ALL_ROLES = ['serve', 'gateway', 'worker', 'register'] as const;

/** Our families of metrics. The names of `http_`, `rpc_` and `gen_ai_` are those of OpenTelemetry's conventions. */
export const METRIC_FAMILIES = {
  anyserve_replicas: {
    type: 'gauge',
    help: 'Registered replicas by state: ready, unready, draining or suspect; cordoned counts before these',
    labels: ['state'],
    roles: ['serve'],
  },
  anyserve_offers: {
    type: 'gauge',
    help:
      'Replicas that calls can go to, by the values of the capability keys of --metrics-keys, which are its labels; 0 for an hour ' +
      'after the last one has left',
    labels: ['model'],
    roles: ['serve'],
  },
  anyserve_leases: {
    type: 'gauge',
    help: 'Leases that this server has granted: ttl for those that must be renewed, stream for those that last as long as a connection',
    labels: ['kind'],
    roles: ['serve'],
  },
  anyserve_registrations_total: {
    type: 'counter',
    help: 'Registrations by result: granted, or the code of the error',
    labels: ['result'],
    roles: ['serve'],
  },
  anyserve_removals_total: {
    type: 'counter',
    help: 'Removed registrations by reason; unknown for one of another server, if the store does not say',
    labels: ['reason'],
    roles: ['serve'],
  },
  anyserve_routes_total: {
    type: 'counter',
    help: 'Requests for /route by result: found, no_match, or refused',
    labels: ['result'],
    roles: ['serve'],
  },
  anyserve_lease_renewals_total: {
    type: 'counter',
    help: 'Renewals of leases by result: renewed, superseded, unknown, too_soon, or refused because the registry is full',
    labels: ['result'],
    roles: ['serve'],
  },
  anyserve_self_preservation: {
    type: 'gauge',
    help: '1 while silent replicas are kept, because most hosts fell silent at once',
    labels: [],
    roles: ['serve'],
  },
  anyserve_store_connected: {
    type: 'gauge',
    help: '1 while the store of registrations can be reached; always 1 for a store in memory',
    labels: [],
    roles: ['serve'],
  },
  anyserve_store_staleness_seconds: {
    type: 'gauge',
    help: 'Maximum age of what this server knows of the registrations of other servers',
    labels: [],
    roles: ['serve'],
  },
  anyserve_warming: {
    type: 'gauge',
    help: '1 after a start, while replicas can still be registering again',
    labels: [],
    roles: ['serve'],
  },
  http_server_request_duration_seconds: {
    type: 'histogram',
    help: 'Time until the handler of a request has responded; of a stream, until it has begun',
    labels: ['http_route', 'http_response_status_class'],
    roles: ['serve'],
  },
  gen_ai_server_request_duration_seconds: {
    type: 'histogram',
    help: 'Time from a request to the end of its response, with all attempts; an error of gRPC counts as its HTTP status',
    labels: ['gen_ai_operation_name', 'gen_ai_request_model', 'http_response_status_class'],
    roles: ['gateway', 'worker'],
  },
  gen_ai_server_time_to_first_token_seconds: {
    type: 'histogram',
    help: 'Time from a request to the first part of its stream',
    labels: ['gen_ai_operation_name', 'gen_ai_request_model'],
    roles: ['gateway', 'worker'],
  },
  rpc_server_call_duration_seconds: {
    type: 'histogram',
    help: 'Time from the start of a gRPC call of the inference protocol to its status',
    labels: ['rpc_method', 'rpc_status_code'],
    roles: ['worker'],
  },
  anyserve_requests_running: {
    type: 'gauge',
    help: 'Calls in progress by model; of register, those that its engine reports for all models together',
    labels: ['model'],
    roles: ['gateway', 'worker', 'register'],
  },
  anyserve_requests_waiting: {
    type: 'gauge',
    help: 'Calls that wait for a replica, or in a replica for their turn, by model',
    labels: ['model'],
    roles: ['gateway', 'worker', 'register'],
  },
  anyserve_attempts_total: {
    type: 'counter',
    help: 'Attempts of calls at replicas by outcome: ok, or the code of the error',
    labels: ['outcome'],
    roles: ['gateway'],
  },
  anyserve_ejections_total: {
    type: 'counter',
    help: 'Times that a replica was left out for a while, because its calls had failed',
    labels: [],
    roles: ['gateway'],
  },
  anyserve_calls_total: {
    type: 'counter',
    help: 'Finished calls by the name of their key; empty without keys',
    labels: ['http_response_status_class', 'key'],
    roles: ['gateway'],
  },
  anyserve_requests_refused_total: {
    type: 'counter',
    help: 'Requests that were refused before they became calls, by status: 401 for unknown keys, 404 and 405 for paths and methods that are not served',
    labels: ['http_response_status_code'],
    roles: ['gateway'],
  },
  anyserve_tokens_total: {
    type: 'counter',
    help: 'Tokens that engines have counted, in responses that say so',
    labels: ['gen_ai_request_model', 'gen_ai_token_type', 'key'],
    roles: ['gateway'],
  },
  anyserve_build_info: {
    type: 'gauge',
    help: '1, with the version of AnyServe',
    labels: ['version'],
    roles: ALL_ROLES,
  },
} as const satisfies Readonly<Record<string, MetricFamily>>;

export type MetricName = keyof typeof METRIC_FAMILIES;

/** Families of prom-client about the process, by name. Others would only be more of the same. */
export const PROCESS_METRICS: readonly string[] = [
  'process_cpu_user_seconds_total',
  'process_cpu_system_seconds_total',
  'process_cpu_seconds_total',
  'process_start_time_seconds',
  'process_resident_memory_bytes',
  'process_open_fds',
  'process_max_fds',
  'nodejs_eventloop_lag_seconds',
  'nodejs_eventloop_lag_p99_seconds',
  'nodejs_heap_size_total_bytes',
  'nodejs_heap_size_used_bytes',
  'nodejs_gc_duration_seconds',
];
