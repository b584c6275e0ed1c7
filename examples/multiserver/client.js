// Finds a replica for each capability through the API server and calls it. Then calls one replica without discovery.
// Run it with: node examples/multiserver/client.js http://localhost:8080

import { Client } from 'anyserve';

const server = process.argv[2] ?? 'http://localhost:8080';

/** Finds a replica, calls it, and prints inputs, output and replica. Returns the replica's endpoint. */
async function callModel(model, inputs, output) {
  const client = new Client({ server, capability: { type: model } });
  const { outputs } = await client.infer(model, inputs);
  const shownInputs = Object.entries(inputs).map(([name, values]) => `${name}=[${values}]`);
  console.log(`${model}: ${shownInputs.join(' ')} -> ${output}=[${outputs[output].data}]`);
  console.log(`  endpoint ${client.endpoint}, replica ${client.replicaId}`);
  await client.close();
  return client.endpoint;
}

const endpoint = await callModel('multiply', { a: [2, 3, 4], b: [10, 20, 30] }, 'product');
await callModel('divide', { a: [10, 20, 30], b: [2, 4, 5] }, 'quotient');
await callModel('power', { base: [2, 3, 4], exp: [2, 3, 2] }, 'result');

const direct = new Client({ endpoint });
const { outputs } = await direct.infer('multiply', { a: [5, 6], b: [7, 8] });
console.log(`direct: a=[5,6] b=[7,8] -> product=[${outputs.product.data}]`);
console.log(`  endpoint ${endpoint}, no API server involved`);
await direct.close();
