// Calls a model of the fleet with OpenAI's client, directly at a replica: no gateway is needed.
// Run it with: npx tsx examples/openai/direct.ts qwen2 http://localhost:8080

import { createFetch } from 'anyserve/openai';
import OpenAI from 'openai';

const [model = 'qwen2', server = 'http://localhost:8080'] = process.argv.slice(2);

const fetch = createFetch({ server });
// Nothing has this address: the fetch finds a replica of the model. A key is required by the client, and sent nowhere.
const openai = new OpenAI({ baseURL: 'http://anyserve/v1', apiKey: '-', fetch });

const { data: models } = await openai.models.list();
console.log(`models: ${models.map(({ id }) => id).join(', ')}`);

const stream = await openai.chat.completions.create({
  model,
  messages: [{ role: 'user', content: 'Why is the sky blue?' }],
  stream: true,
});
for await (const { choices } of stream) process.stdout.write(choices[0]?.delta.content ?? '');

for (const { id, endpoint, latencyMs = 0 } of await fetch.replicas())
  console.log(`\nreplica ${id} at ${endpoint}: first byte after ${Math.round(latencyMs)} ms`);
await fetch.close();
