import { execFileSync } from 'node:child_process';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  BINARY,
  type Running,
  run,
  start,
  startAtTerminal,
  startProgramAtTerminal,
  stopAll,
} from '../support/binary.js';
import { writeTextModel } from '../support/text-model.js';
import { until } from '../support/until.js';

const MODEL = writeTextModel();

let worker: Running;
let at: string[];
const extras: Running[] = [];

beforeAll(async () => {
  worker = start(['worker', MODEL, '--port', '0', '--no-register']);
  at = ['--endpoint', await worker.waitForOutput(/^serving on (\S+)/m)];
});

afterEach(async () => {
  for (const extra of extras.splice(0)) await extra.stop('SIGKILL');
});

afterAll(stopAll);

/** Starts a conversation in a terminal. */
async function startChatAtTerminal(...args: string[]) {
  const chat = startAtTerminal(['chat', ...args]);
  extras.push(chat);
  await chat.waitForOutput(/> /);
  return {
    ...chat,
    type: (keys: string): void => void chat.child.stdin?.write(keys),
    /** Types a line, and waits for the response and the next prompt. */
    async sendLine(text: string): Promise<void> {
      const from = chat.stdout().length;
      chat.child.stdin?.write(`${text}\r`);
      await until(`"${text}" gets a response; so far ${chat.stdout()}`, () =>
        /\r\n[\s\S]*> [^>]*$/.test(chat.stdout().slice(from)),
      );
    },
  };
}

describe('chat from a pipe', () => {
  it('responds to each line, and sends the whole conversation each time', async () => {
    const input = 'Hello\n\nAnd now?\n';
    const talk = await run(['chat', 'chat', '--system', 'Be brief.', ...at], { input });
    expect(talk).toEqual({ code: 0, stdout: 'heard Hello\nheard And now?\n', stderr: '' });
    await worker.waitForOutput(
      /in parts: system Be brief., user Hello\nin parts: system Be brief., user Hello, assistant heard Hello, user And now\?\n$/,
    );
  });

  it('reads the lines between triple quotes as one turn, even when the closing quotes are missing', async () => {
    const talk = await run(['chat', 'chat', ...at], { input: '"""a\n/b\n\nc"""\n/d\n"""\ne\nf\n' });
    expect(talk).toEqual({ code: 0, stdout: 'heard a\n/b\n\nc\nheard /d\nheard e\nf\n', stderr: '' });
  });

  it('prints the last text of the echo backend', async () => {
    const echo = start(['worker', '--backend', 'echo', '--port', '0', '--no-register']);
    extras.push(echo);
    const endpoint = await echo.waitForOutput(/^serving on (\S+)/m);
    const talk = await run(['chat', 'echo', '--system', 'Be brief.', '--endpoint', endpoint], {
      input: 'Hello\nAgain\n',
    });
    expect(talk).toEqual({ code: 0, stdout: 'Hello\nAgain\n', stderr: '' });
  });

  it('prints an object per turn, and forwards options', async () => {
    const talk = await run(['chat', 'chat', '--json', '--seed', '3', '--param', 'min_p=0.5', ...at], {
      input: 'Hello\nparameters',
    });
    const [first, second, ...others] = talk.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(first).toMatchObject({
      text: 'heard Hello',
      finish_reason: 'stop',
      usage: { prompt_tokens: 2, completion_tokens: 3, total_tokens: 5 },
      replica: { replica_id: null, endpoint: at[1] },
      latency_ms: { first_token: expect.any(Number), total: expect.any(Number) },
    });
    expect([second.text, others]).toEqual(['{"min_p":0.5,"seed":3}', []]);
  });

  it('ends with the exit code of the first failure', async () => {
    const failed = await run(['chat', 'chat', ...at], { input: 'Hello\nfail\nmore\n' });
    expect([failed.code, failed.stdout]).toEqual([5, 'heard Hello\nheard \n']);
    expect(failed.stderr).toMatch(/^anyserve: .* failed: as requested \(after one message of the stream\)\n$/);
    const wordless = await run(['chat', 'chat', ...at], { input: 'numbers\n' });
    expect(wordless).toEqual({
      code: 5,
      stdout: '',
      stderr: 'anyserve: model "chat" returned a response without text\n',
    });
    expect((await run(['chat', 'chat', '--endpoint', '127.0.0.1:1'], { input: 'Hello\n' })).code).toBe(5);
    expect((await run(['chat', 'chat', '--server', 'http://127.0.0.1:1'], { input: 'Hello\n' })).code).toBe(4);
    expect((await run(['chat', 'chat', '--seed', 'x', ...at])).code).toBe(2);
    expect((await run(['chat'])).stderr).toBe('anyserve: missing NAME: give the name of a model, such as chat\n');
  });

  it('ends on Ctrl-C while it waits for a line, and during a response', async () => {
    const waiting = start(['chat', 'chat', ...at]);
    waiting.child.stdin?.write('Hello\n');
    await waiting.waitForOutput(/heard Hello\n/);
    expect(await waiting.stop('SIGINT')).toMatchObject({ code: 130, stderr: 'anyserve: interrupted\n' });
    const responding = start(['chat', 'chat', ...at]);
    responding.child.stdin?.write('forever\n');
    await responding.waitForOutput(/heard /);
    expect((await responding.stop('SIGINT')).code).toBe(130);
    await worker.waitForOutput(/user forever\nthe caller is gone\n$/);
  });
});

describe('chat in a terminal', () => {
  it('edits lines, has a history, and ends on Ctrl-D', async () => {
    const chat = await startChatAtTerminal('chat', ...at);
    await chat.sendLine('Hellp\x7fo');
    await worker.waitForOutput(/in parts: user Hello\n$/);
    await chat.sendLine('\x1b[A!');
    await worker.waitForOutput(/in parts: user Hello, assistant heard Hello, user Hello!\n$/);
    expect(chat.stdout()).toContain('heard Hello!\r\n');
    chat.type('\x04');
    expect((await chat.ended).code).toBe(0);
  });

  it('has commands that begin with a slash', async () => {
    const chat = await startChatAtTerminal('chat', '--system', 'Be brief.', ...at);
    await chat.sendLine('one');
    await chat.sendLine('/help');
    expect(chat.stdout()).toMatch(
      /\r\n\/clear {10}clear the conversation; keep the system message\r\n[\s\S]*Press Enter to send it\.\r\n/,
    );
    await chat.sendLine('/rest of it');
    expect(chat.stdout()).toContain('unknown command /rest; /help lists the commands;');
    expect(chat.stdout()).toContain('to send this as a message, type //rest of it');
    await chat.sendLine('/clear');
    await chat.sendLine('two');
    await worker.waitForOutput(/user one\nin parts: system Be brief., user two\n$/);
    await chat.sendLine('/system Answer in French.');
    await chat.sendLine('/system');
    expect(chat.stdout().match(/system message: Answer in French\./g)).toHaveLength(2);
    await chat.sendLine('//etc/hosts');
    await worker.waitForOutput(
      /in parts: system Answer in French., user two, assistant heard two, user \/etc\/hosts\n$/,
    );
    chat.type('/exit\r');
    expect((await chat.ended).code).toBe(0);
  });

  it('redraws the line when the window is resized', async () => {
    const command = [process.execPath, BINARY, 'chat', 'chat', ...at].join(' ');
    const chat = startProgramAtTerminal(['sh', '-c', `stty cols 60; echo "at $(tty)"; exec ${command}`]);
    extras.push(chat);
    const terminal = await chat.waitForOutput(/^at (\S+)\r$/m);
    await chat.waitForOutput(/> /);
    const line = 'a word and another and one more';
    chat.child.stdin?.write(line);
    await until('the line is printed', () => chat.stdout().endsWith(line));
    execFileSync('stty', ['-F', terminal, 'cols', '20']);
    await until('the line is printed again', () => chat.stdout().split(`> ${line}`).length === 2);
  });

  it.each(['\n', '\r', '\r\n'])('reads lines pasted at once, separated by %j, as one turn', async (end) => {
    const chat = await startChatAtTerminal('chat', ...at);
    await chat.waitForOutput(/\[\?2004h/);
    chat.type(`see: \x1b[200~/one${end}${end}two "${end}three\x1b[201~`);
    await chat.waitForOutput(/three/);
    await chat.sendLine('!');
    await worker.waitForOutput(/in parts: user see: \/one\n\ntwo "\nthree!\n$/);
    // Ctrl-C discards pasted lines.
    chat.type(`\x1b[200~four${end}five\x1b[201~`);
    await chat.waitForOutput(/five/);
    chat.type('\x03');
    await chat.sendLine('six');
    await worker.waitForOutput(/assistant heard see: \/one\n\ntwo "\nthree!, user six\n$/);
    chat.type('\x04');
    expect((await chat.ended).stdout).toContain('\x1b[?2004l');
  });

  it('reads the lines between triple quotes as one turn', async () => {
    const chat = await startChatAtTerminal('chat', ...at);
    chat.type('"""one\r');
    await chat.waitForOutput(/J\. /);
    chat.type('/two\r\x1b[200~pasted\rlines\x1b[201~\r');
    await chat.sendLine('three"""');
    await worker.waitForOutput(/in parts: user one\n\/two\npasted\nlines\nthree\n$/);
  });

  it('shows the reasoning of the model with a label in a terminal, and not in a pipe', async () => {
    const chat = await startChatAtTerminal('chat', ...at);
    await chat.sendLine('think');
    expect(chat.stdout()).toContain('thinking: let me see\r\n\r\nheard think\r\n');
    const piped = await run(['chat', 'chat', ...at], { input: 'think\n' });
    expect(piped).toEqual({ code: 0, stdout: 'heard think\n', stderr: '' });
  });

  it('ends a response on Ctrl-C and continues the conversation with the received text', async () => {
    const chat = await startChatAtTerminal('chat', ...at);
    chat.type('forever\r');
    await chat.waitForOutput(/heard /);
    // Lines typed during a response wait for the next prompt.
    chat.type('and now?\x03');
    await worker.waitForOutput(/user forever\nthe caller is gone\n$/);
    await chat.waitForOutput(/heard \r\n[\s\S]*> and now\?/);
    await chat.sendLine('');
    await worker.waitForOutput(/in parts: user forever, assistant heard , user and now\?\n$/);
    // Ctrl-C clears a line that is not empty, and ends the conversation on an empty one.
    chat.type('never mind\x03');
    await chat.waitForOutput(/never mind[\s\S]*> /);
    chat.type('\x03');
    expect((await chat.ended).code).toBe(130);
    expect(worker.stdout()).not.toContain('never mind');
  });

  it('reports a failure in one line, and continues without that turn', async () => {
    const chat = await startChatAtTerminal('chat', ...at);
    await chat.sendLine('one');
    await chat.sendLine('fail');
    expect(chat.stdout()).toMatch(
      /heard \r\nanyserve: .* failed: as requested \(after one message of the stream\)\r\n/,
    );
    await chat.sendLine('two');
    await worker.waitForOutput(/in parts: user one, assistant heard one, user two\n$/);
    chat.type('\x04');
    expect((await chat.ended).code).toBe(0);
  });

  it('reports a failure as an object with --json', async () => {
    const chat = await startChatAtTerminal('chat', '--json', ...at);
    await chat.sendLine('numbers');
    const message = 'model \\"chat\\" returned a response without text';
    expect(chat.stdout()).toContain(`{"error":{"code":"internal","message":"${message}"}}`);
  });

  it('writes no escape sequences to a terminal that would print them', async () => {
    const chat = startAtTerminal(['chat', 'chat', ...at], { TERM: 'dumb' });
    extras.push(chat);
    await chat.waitForOutput(/> /);
    chat.child.stdin?.write('\x04');
    expect((await chat.ended).stdout).not.toContain('\x1b');
  });

  it('sends all turns to the same replica', async () => {
    const api = start(['serve', '--port', '0']);
    const server = await api.waitForOutput(/listening on (http:\S+)/);
    const ids = ['r1', 'r2', 'r3', 'r4'];
    const replicas = ids.map((id) => start(['worker', MODEL, '--port', '0', '--id', id, '--server', server]));
    extras.push(api, ...replicas);
    await Promise.all(replicas.map((replica) => replica.waitForOutput(/^registered/m)));
    const input = Array.from({ length: 8 }, (_, turn) => `turn ${turn}\n`).join('');
    const { stdout, code } = await run(['chat', 'parrot', '--json', '--server', server], { input });
    const turns = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { replica_id: string });
    expect([code, turns.length, new Set(turns.map(({ replica_id: id }) => id)).size]).toEqual([0, 8, 1]);
  });

  it('fails over to another replica when one dies between turns or during one', async () => {
    const api = start(['serve', '--port', '0']);
    const server = await api.waitForOutput(/listening on (http:\S+)/);
    const join = async (id: string): Promise<Running> => {
      const replica = start(['worker', MODEL, '--port', '0', '--id', id, '--server', server]);
      extras.push(replica);
      await replica.waitForOutput(/^registered/m);
      return replica;
    };
    const first = await join('r1');
    const chat = await startChatAtTerminal('parrot', '--server', server);
    await chat.sendLine('one');
    await first.stop('SIGKILL');
    const second = await join('r2');
    await chat.sendLine('two');
    await second.waitForOutput(/in parts: user one, assistant heard one, user two\n$/);
    await chat.sendLine('die');
    expect(chat.stdout()).toMatch(/heard \r\nanyserve: \S+: .*\r\n/);
    const third = await join('r3');
    await chat.sendLine('three');
    await third.waitForOutput(/in parts: user one, assistant heard one, user two, assistant heard two, user three\n$/);
    chat.type('\x04');
    expect((await chat.ended).code).toBe(0);
    await api.stop();
  });
});
