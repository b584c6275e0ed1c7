// Starts an API server, two workers with a small language model on the CPU and a gateway, each in its own process, generates
// text with AnyServe's client and over OpenAI's API, and ends. Run it with: npm run llm [PROMPT ...], or npm run llm:chat [QUESTION ...]

import { once } from 'node:events';
import { ANYSERVE, printLines, startProcess, stopAll, streamProcess, waitForLine } from '../processes.js';

const [mode, ...words] = process.argv.slice(2);
const isChat = mode === 'chat';
const showStep = (text) => printLines('model', text);

const STORIES = ['Once upon a time', 'The little dragon was'];
const QUESTIONS = ['What is the capital of France? Answer in one sentence.'];

const model = isChat
  ? await (await import('./chat/model.js')).createChatModel(showStep)
  : (await import('./stories.js')).createStoriesModel(showStep);

/** Calls the model over OpenAI's API, and returns the text. */
async function complete(baseUrl, prompt) {
  const { data } = await (await fetch(`${baseUrl}/models`)).json();
  const parameters = { model: data[0].id, max_tokens: 60, seed: 7, temperature: 0.7 };
  const [path, input] = isChat
    ? ['chat/completions', { messages: [{ role: 'user', content: prompt }] }]
    : ['completions', { prompt }];
  const response = await fetch(`${baseUrl}/${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ...parameters, ...input }),
  });
  const { choices, usage, error } = await response.json();
  if (error) throw new Error(error.message);
  const [{ text, message }] = choices;
  return `${isChat ? message.content : prompt + text} [${usage.completion_tokens} tokens]`;
}

try {
  const server = await waitForLine(startProcess('api server', ANYSERVE, 'serve', '--port', '0'), /listening on (\S+)/);
  const options = ['--llama', model, '--threads', '1', '--port', '0', '--server', server];
  const workers = ['worker1', 'worker2'].map((name) =>
    startProcess(name, ANYSERVE, 'worker', ...options, '--id', name),
  );
  await Promise.all(workers.map((worker) => waitForLine(worker, /^(registered)/)));
  const { child } = startProcess('registry', ANYSERVE, 'registry', '--server', server);
  await once(child, 'close');
  const call = ['chat', '--server', server, '--stream', '--seed', '7', '--temperature', '0.7'];
  const prompts = words.length > 0 ? [words.join(' ')] : isChat ? QUESTIONS : STORIES;
  for (const prompt of prompts) {
    if (isChat) printLines('question', prompt);
    const code = await streamProcess(
      isChat ? 'answer' : 'story',
      isChat ? '' : prompt,
      ANYSERVE,
      'infer',
      ...call,
      '--prompt',
      prompt,
    );
    process.exitCode ||= code;
  }
  const gateway = await waitForLine(
    startProcess('gateway', ANYSERVE, 'gateway', '--port', '0', '--server', server),
    /listening on (\S+)/,
  );
  printLines('openai', await complete(gateway, prompts[0]));
} finally {
  await stopAll();
}
