import { INFERENCE_SERVICE } from '../wire/inference-service.js';

/** What load balancers and gRPC's tools ask without a token: whether the server is well, and how its services look. */
const OPEN_SERVICES = /^\/grpc\.(health|reflection)\./;
const OPEN_METHODS: ReadonlySet<string> = new Set([
  INFERENCE_SERVICE.serverLive.path,
  INFERENCE_SERVICE.serverReady.path,
]);

/** Whether a method can be called without a token. */
export function isOpenMethod(path: string): boolean {
  return OPEN_SERVICES.test(path) || OPEN_METHODS.has(path);
}
