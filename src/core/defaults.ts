/** Default values of options, for both the command line and the library. */
export const DEFAULTS = {
  /** Loopback: other machines have no access by default. */
  host: '127.0.0.1',
  apiPort: 8080,
  apiServer: 'http://localhost:8080',
  heartbeatMs: 2000,
  /** TTL of a lease. It is renewed three times per TTL. */
  leaseTtlMs: 9000,
  /** Minimum time without an acknowledgement after which a host can count as dead. Retransmissions must fail, too. */
  ackTimeoutMs: 3000,
  /** At shutdown, an API server spreads the disconnects of its replicas over this long. */
  drainMs: 5000,
  /** After a start, "no match" counts as temporary for this long, because replicas are still reconnecting. */
  warmingMs: 10_000,
  maxReplicas: 100_000,
  /** The registrations of 100,000 replicas take about 100 MB. */
  maxRegistryBytes: 256 * 1024 * 1024,
  /** High, because a whole fleet can share one address (NAT). Leases, watches and event streams are counted separately. */
  maxStreamsPerPeer: 20_000,
  workerPort: 50051,
  gatewayPort: 8000,
  /** Maximum size of a request body of the gateway. Images and audio are sent in requests. */
  maxGatewayBodyBytes: 100 * 1024 * 1024,
  /** Maximum size of all request bodies in the gateway together. */
  maxGatewayBufferBytes: 512 * 1024 * 1024,
  /** Calls that wait in a gateway for a replica, at most, and how long. */
  maxQueuedCalls: 100,
  queueTimeoutMs: 30_000,
  maxConcurrency: 64,
  /** Concurrency limit for an engine that batches calls. Fewer concurrent calls would limit its throughput. */
  engineMaxConcurrency: 256,
  maxQueue: 1024,
  /** Maximum size of a message, in bytes, for both client and worker. */
  maxMessageBytes: 64 * 1024 * 1024,
  /** Maximum memory of all requests of a worker together, each from its first byte to the end of its call. */
  maxDecodingBytes: 512 * 1024 * 1024,
  /** At shutdown, a worker accepts calls for this long after it left the list, because callers can still have its address. */
  drainDelayMs: 5000,
  drainTimeoutMs: 30_000,
  /** Timeout for all attempts of a call together. */
  callTimeoutMs: 60_000,
  /** Timeout for all attempts of a call that generates text, which takes longer. */
  textCallTimeoutMs: 600_000,
  /** Timeout for all attempts of a streaming call. The two timeouts below detect a stalled stream earlier. */
  streamTimeoutMs: 3_600_000,
  /** Timeout from the request to the first message of a stream. A long prompt on a busy engine takes minutes. */
  firstMessageTimeoutMs: 600_000,
  /** Timeout between two messages of a stream. */
  streamIdleTimeoutMs: 120_000,
  /** Timeout for the first byte of an engine's response. The official OpenAI clients use the same value. */
  upstreamTimeoutMs: 600_000,
  /** Timeout between two bytes of an engine's response. */
  upstreamIdleTimeoutMs: 120_000,
} as const;
