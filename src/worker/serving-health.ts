import type { handleServerStreamingCall, Server, ServerWritableStream, ServiceDefinition } from '@grpc/grpc-js';
import { INFERENCE_SERVICE_NAME } from '../inference/service-definition.js';

/** Health of a server as gRPC tools query it (`grpc.health.v1.Health`). */
export interface ServingHealth {
  setServing(isServing: boolean): void;
  /** Reports NOT_SERVING and ends all watches. */
  leave(): void;
}

/** Services that have a health status: the server as a whole, whose name is empty, and the inference service. */
const SERVICES = ['', INFERENCE_SERVICE_NAME];

/** Adds the health service to a server. */
export async function addHealthService(server: Server): Promise<ServingHealth> {
  const { HealthImplementation } = await import('grpc-health-check');
  const health = new HealthImplementation(Object.fromEntries(SERVICES.map((name) => [name, 'SERVING' as const])));
  const watchCalls = new Set<ServerWritableStream<unknown, unknown>>();
  health.addToServer({
    addService(definition, implementation) {
      const watch = implementation['watch'] as handleServerStreamingCall<unknown, unknown>;
      const watchKnownService: typeof watch = (call) => {
        watchCalls.add(call);
        call.on('cancelled', () => watchCalls.delete(call));
        const { service } = call.request as { service: string };
        if (SERVICES.includes(service)) watch(call);
        // The library would store every requested name. No service is added later, so this status never changes.
        else call.write({ status: 'SERVICE_UNKNOWN' });
      };
      server.addService(definition as ServiceDefinition, { ...implementation, watch: watchKnownService } as never);
    },
  });
  let isServing = true;
  const setServing = (serving: boolean): void => {
    if (serving === isServing) return;
    isServing = serving;
    for (const name of SERVICES) health.setStatus(name, serving ? 'SERVING' : 'NOT_SERVING');
  };
  return {
    setServing,
    leave() {
      setServing(false);
      // A load balancer never ends its watch, which would keep the server from shutting down.
      for (const call of watchCalls) call.end();
    },
  };
}
