// Starts an API server and two workers with a small language model on the CPU, each in its own process, generates text,
// and ends. Run it with: npm run llm [PROMPT ...], or npm run llm:chat [QUESTION ...]

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
} finally {
  await stopAll();
}
