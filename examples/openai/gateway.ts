// Calls a model of the fleet with OpenAI's client, through a gateway.
// Run it with: npx tsx examples/openai/gateway.ts qwen2 http://localhost:8000/v1

import OpenAI from 'openai';

const [model = 'qwen2', baseURL = 'http://localhost:8000/v1'] = process.argv.slice(2);

// With "anyserve gateway --key-file", the API key is the key of a line of that file.
const openai = new OpenAI({ baseURL, apiKey: '-' });

const models = await openai.models.list();
console.log(`models: ${models.data.map(({ id }) => id).join(', ')}`);

const messages = [{ role: 'user' as const, content: 'Why is the sky blue?' }];
const { choices, usage } = await openai.chat.completions.create({ model, messages });
console.log(choices[0]?.message.content);
console.log(`${usage?.completion_tokens} tokens`);
