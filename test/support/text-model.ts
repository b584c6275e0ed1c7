import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const LIBRARY = new URL('../../dist/index.js', import.meta.url).href;

/**
 * Writes a worker module with a text model and returns its path. The model prints the messages of each call to stdout, and
 * whether the call is streaming. It responds with "heard " and the last message. The last messages "forever", "fail", "die",
 * "tools", "think", "numbers" and "parameters" are commands.
 */
export function writeTextModel(): string {
  const path = join(mkdtempSync(join(tmpdir(), 'anyserve-')), 'text-model.mjs');
  writeFileSync(
    path,
    `import { HandlerResponse } from '${LIBRARY}';

const text = (tensor) => new TextDecoder().decode(tensor.data[0]);

export default (app) => app.capability({ type: 'chat', model: 'parrot' }, async function* (inputs, context) {
  const messages = inputs.messages ? JSON.parse(text(inputs.messages)) : [{ role: 'user', content: text(inputs.prompt) }];
  console.log((context.streaming ? 'in parts: ' : 'whole: ') + messages.map(({ role, content }) => role + ' ' + content).join(', '));
  const order = messages.at(-1).content;
  if (order === 'parameters') return yield { text: [JSON.stringify(context.parameters)], score: [1.5] };
  if (order === 'numbers') return yield { n: [1, 2] };
  if (order === 'think') for (const reasoning of ['let me', ' see']) yield { reasoning: [reasoning] };
  if (order === 'tools') {
    const calls = [['get_weather', '{"city":"Paris"}'], ['get_time', '{}']].map(([name, args], at) => ({ id: 'call-' + at, type: 'function', function: { name, arguments: args } }));
    return yield { text: [''], reasoning: ['which tool?'], tool_calls: [JSON.stringify(calls)] };
  }
  yield { text: [context.streaming ? 'heard ' : 'heard ' + order] };
  if (order === 'fail') throw new Error('as requested');
  if (order === 'die') setTimeout(() => process.exit(1), 20);
  while (order === 'forever' || order === 'die') {
    await new Promise((resolve) => setTimeout(resolve, 5));
    if (context.signal.aborted) return console.log('the caller is gone');
  }
  if (context.streaming) yield { text: [order] };
  if (context.streaming) yield new HandlerResponse({ text: [''] }, { finish_reason: 'stop', prompt_tokens: 2, completion_tokens: 3, total_tokens: 5 });
});
`,
  );
  return path;
}
