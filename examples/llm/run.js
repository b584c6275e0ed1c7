// An API server and two workers with a small language model, each a process of its own, on the CPU. Starts them, has
// them write, and ends. Run it with: npm run llm [PROMPT ...], or npm run llm:chat [QUESTION ...]

import { once } from 'node:events';
import { ANYSERVE, line, play, start, stopAll, tell } from '../processes.js';

const [mode, ...given] = process.argv.slice(2);
const isChat = mode === 'chat';
const showStep = (text) => tell('model', text);

const STORIES = ['Once upon a time', 'The little dragon was'];
const QUESTIONS = ['What is the capital of France? Answer in one sentence.'];

const model = isChat
  ? await (await import('./chat/model.js')).chatModel(showStep)
  : (await import('./stories.js')).storiesModel(showStep);

try {
  const server = await line(start('api server', ANYSERVE, 'serve', '--port', '0'), /listening on (\S+)/);
  const options = ['--llama', model, '--threads', '1', '--port', '0', '--server', server];
  const workers = ['worker1', 'worker2'].map((name) => start(name, ANYSERVE, 'worker', ...options, '--id', name));
  await Promise.all(workers.map((worker) => line(worker, /^(registered)/)));
  const { child } = start('registry', ANYSERVE, 'registry', '--server', server);
  await once(child, 'close');
  const call = ['chat', '--server', server, '--stream', '--seed', '7', '--temperature', '0.7'];
  const prompts = given.length > 0 ? [given.join(' ')] : isChat ? QUESTIONS : STORIES;
  for (const prompt of prompts) {
    if (isChat) tell('question', prompt);
    const code = await play(
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
} finally {
  await stopAll();
}
