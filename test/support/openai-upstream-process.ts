import { piece, startOpenaiUpstream, write } from './openai-upstream.js';

/**
 * An upstream in a process of its own, which can be killed: prints its URL. Asked to `hang`, it sends one piece of an
 * answer and then nothing more; its first argument is the port, 0 for a free one.
 */
const { url } = await startOpenaiUpstream({
  port: Number(process.argv[2] ?? 0),
  answering({ body }, response) {
    if (body?.messages?.at(-1).content !== 'hang') return undefined;
    write(response, piece('begun '));
    return true;
  },
});
process.stdout.write(`${url}\n`);
