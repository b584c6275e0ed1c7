import { Server, ServerCredentials, type ServiceDefinition } from '@grpc/grpc-js';
import { INFERENCE_SERVICE } from '../../src/inference/service-definition.js';

/** Starts a plain grpc-js server that implements these methods of the inference service. */
export async function startBareServer(
  methods: object,
): Promise<{ readonly endpoint: string; readonly server: Server }> {
  const server = new Server();
  server.addService(INFERENCE_SERVICE as unknown as ServiceDefinition, methods as never);
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  );
  return { endpoint: `127.0.0.1:${port}`, server };
}
