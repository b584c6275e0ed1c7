import { ApiClient } from '../client/api-client.js';
import { type LeaseChange, LeaseKeeper } from '../client/lease-keeper.js';
import { AnyserveError } from '../core/errors.js';
import { parseAdvertised, parseReplicaId } from '../core/ids.js';
import type { Replica } from '../core/replica.js';
import { clock, random } from '../system.js';
import { type Command, type CommandIo, SERVER_OPTION } from './command.js';
import { endCode } from './interruption.js';
import { coloursFor, printable } from './output.js';
import { asUsage, capabilityFromCap } from './values.js';

/** `anyserve register`: keeps a model server that knows nothing of us in the list. */
export const register: Command = {
  name: 'register',
  usage: '--id ID --endpoint HOST:PORT --cap KEY=VALUE[,KEY=VALUE ...] [--cap ...]',
  summary: 'Keeps a model server registered for as long as it runs; Ctrl-C takes it out of the list.',
  examples: [
    ['anyserve register --id r1 --endpoint localhost:50051 --cap model=qwen2', 'one capability'],
    [
      'anyserve register --id r1 --endpoint gpu7:8001 --cap model=qwen2 --cap model=llama,type=chat',
      'two, which do not mix',
    ],
    [`anyserve register --id r1 --endpoint gpu7:8001 --cap '{"gpu":1}'`, 'the same, as JSON'],
  ],
  options: {
    id: { type: 'text', value: 'ID', description: "the replica's name, unique in the list" },
    endpoint: { type: 'text', value: 'HOST:PORT', description: 'where callers reach it' },
    cap: {
      type: 'text',
      value: 'CAP',
      description: 'one thing it can do: KEY=VALUE pairs, or a JSON object',
      repeatable: true,
    },
    server: SERVER_OPTION,
  },
  maxWords: 0,
  async run(args, io) {
    const replica: Replica = {
      id: asUsage(() => parseReplicaId(needed(args.text('id'), '--id ID, a name that no other replica has'))),
      endpoint: parseAdvertised(
        needed(args.text('endpoint'), '--endpoint HOST:PORT, where callers reach the model server'),
      ),
      capabilities: args.texts('cap').map(capabilityFromCap),
    };
    if (replica.capabilities.length === 0) needed(undefined, '--cap KEY=VALUE, what the model server can do');
    const api = new ApiClient(args.texts('server'));
    const keeper = new LeaseKeeper({ api, replica, clock, random, onChange: reporter(args.flag('json'), io) });
    io.interrupted.addEventListener('abort', () => keeper.stop(), { once: true });
    try {
      await keeper.run();
    } finally {
      api.close();
    }
    if (!args.flag('json')) io.stdout.write(`gave the lease of ${printable(replica.id)} back\n`);
    return endCode(io.interrupted);
  },
};

/** Tells each change of a registration: a line for people, or a JSON object a line. */
export function reporter(json: boolean, { stdout, env }: CommandIo): (change: LeaseChange, replica: Replica) => void {
  const colours = coloursFor(stdout, env);
  return (change, replica) => {
    const line = printable(json ? JSON.stringify(record(change, replica)) : sentence(change, replica));
    const [, state = '', rest = ''] = /^([^ ]+)(.*)$/s.exec(line) ?? [];
    const colour = change.kind === 'registered' ? colours.green : colours.yellow;
    stdout.write(json ? `${line}\n` : `${colour(state)}${rest}\n`);
  };
}

function sentence(change: LeaseChange, { id, endpoint }: Replica): string {
  switch (change.kind) {
    case 'registered':
      return `registered ${id} (${endpoint}) with ${change.server}`;
    case 'lost':
      return `unregistered ${id}: ${change.error.message}; next try in ${seconds(change.retryInMs)}`;
    case 'superseded':
      return `superseded ${id}: another process registered it with ${change.server}; standing by, next look in ${seconds(change.retryInMs)}`;
    default:
      return change satisfies never;
  }
}

function record(change: LeaseChange, { id, endpoint }: Replica): Record<string, unknown> {
  const replica = { replica_id: id, endpoint };
  switch (change.kind) {
    case 'registered':
      return { state: 'registered', ...replica, server: change.server };
    case 'lost':
      return { state: 'lost', ...replica, error: change.error.message, retry_in_ms: Math.round(change.retryInMs) };
    case 'superseded':
      return { state: 'superseded', ...replica, server: change.server, retry_in_ms: Math.round(change.retryInMs) };
    default:
      return change satisfies never;
  }
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

function needed(value: string | undefined, what: string): string {
  if (value === undefined || value === '') throw new AnyserveError('usage', `give ${what}`);
  return value;
}
