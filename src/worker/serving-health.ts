import type { handleServerStreamingCall, Server, ServerWritableStream, ServiceDefinition } from '@grpc/grpc-js';
import { INFERENCE_SERVICE_NAME } from '../inference/service-definition.js';

/** The health of a server, as gRPC's tools ask for it: `grpc.health.v1.Health`. */
export interface ServingHealth {
  setServing(serving: boolean): void;
  /** Reports to callers and watchers that no new calls are welcome, and ends the watching. */
  leave(): void;
}

/** The services whose health is known: the server as a whole, which has no name, and the one it is there for. */
const SERVICES = ['', INFERENCE_SERVICE_NAME];

/** Adds the health service to a server. */
export async function addHealthService(server: Server): Promise<ServingHealth> {
  const { HealthImplementation } = await import('grpc-health-check');
  const health = new HealthImplementation(Object.fromEntries(SERVICES.map((name) => [name, 'SERVING' as const])));
  const watching = new Set<ServerWritableStream<unknown, unknown>>();
  health.addToServer({
    addService(definition, implementation) {
      const watch = implementation['watch'] as handleServerStreamingCall<unknown, unknown>;
      const watchKnown: typeof watch = (call) => {
        watching.add(call);
        call.on('cancelled', () => watching.delete(call));
        const { service } = call.request as { service: string };
        if (SERVICES.includes(service)) watch(call);
        // The library would keep every name it was ever asked for. No service is added later, so nothing follows.
        else call.write({ status: 'SERVICE_UNKNOWN' });
      };
      server.addService(definition as ServiceDefinition, { ...implementation, watch: watchKnown } as never);
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
      // A load balancer watches for as long as there is something to watch, and would keep the server.
      for (const call of watching) call.end();
    },
  };
}
