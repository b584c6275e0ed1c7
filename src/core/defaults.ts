/** What holds when nobody says otherwise: for the command line, which shows it, and for the library alike. */
export const DEFAULTS = {
  /** Loopback: nothing is offered to other machines unless told. */
  host: '127.0.0.1',
  apiPort: 8080,
  apiServer: 'http://localhost:8080',
  heartbeatMs: 2000,
  /** How long a lease lasts that nobody renews; renewals come three times as often. */
  leaseTtlMs: 9000,
  /** How long a peer may acknowledge nothing of what was sent to it. */
  ackLimitMs: 3000,
  /** Over how long an API server that ends sends its replicas away. */
  drainMs: 5000,
  /** How long after a start replicas may still be on their way back. */
  warmingMs: 10_000,
  maxReplicas: 100_000,
  /** Registrations of 100,000 replicas take some 100 MB. */
  maxRegistryBytes: 256 * 1024 * 1024,
  /** A fleet behind one address must find room. */
  maxStreamsPerPeer: 20_000,
  workerPort: 50051,
  maxConcurrency: 64,
  /** For an engine that batches calls: with fewer it would be throttled. */
  engineMaxConcurrency: 256,
  maxQueue: 1024,
  /** The same on both ends of a call. */
  maxMessageBytes: 64 * 1024 * 1024,
  /** What all requests of a worker together may hold. */
  maxDecodingBytes: 512 * 1024 * 1024,
  /** For callers that were sent to a worker right before it left the list. */
  drainDelayMs: 5000,
  drainTimeoutMs: 30_000,
  /** All attempts of a call together. */
  callTimeoutMs: 60_000,
  /** The same for one that is answered with a text, which takes long to write. */
  textCallTimeoutMs: 600_000,
  /** The same for an answer in parts, which the two limits below watch over. */
  streamTimeoutMs: 3_600_000,
  /** From the request to the first part: a long prompt on a busy engine. */
  firstPartTimeoutMs: 600_000,
  /** Between two parts. */
  silenceTimeoutMs: 120_000,
  /** To the first byte of an engine's answer; as the official OpenAI clients have it. */
  upstreamTimeoutMs: 600_000,
  /** Between two bytes of an engine's answer. */
  upstreamIdleTimeoutMs: 120_000,
} as const;
