import { createTextChunk, startOpenaiUpstream, writeEvents } from './openai-upstream.js';

/**
 * Runs an upstream in a separate process, so that a test can kill it. Prints its URL. The prompt `hang` gets one piece of
 * text and then nothing more. The first argument is the port. Default: 0, a free one.
 */
const { url } = await startOpenaiUpstream({
  port: Number(process.argv[2] ?? 0),
  handleRequest({ body }, response) {
    if (body?.messages?.at(-1).content !== 'hang') return undefined;
    writeEvents(response, createTextChunk('begun '));
    return true;
  },
});
process.stdout.write(`${url}\n`);
