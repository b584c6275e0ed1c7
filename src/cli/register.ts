import { ApiClient } from '../client/api-client.js';
import { LeaseKeeper } from '../client/lease-keeper.js';
import { AnyserveError } from '../core/errors.js';
import { parseAdvertised, parseReplicaId } from '../core/ids.js';
import type { Replica } from '../core/replica.js';
import { clock, random } from '../system.js';
import { type Command, SERVER_OPTION } from './command.js';
import { endCode } from './interruption.js';
import { leaseReporter } from './lease-report.js';
import { printable } from './output.js';
import { capabilityFromCap } from './values.js';

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
      id: parseReplicaId(needed(args.text('id'), '--id ID, a name that no other replica has')),
      endpoint: parseAdvertised(
        needed(args.text('endpoint'), '--endpoint HOST:PORT, where callers reach the model server'),
      ),
      capabilities: args.texts('cap').map(capabilityFromCap),
    };
    if (replica.capabilities.length === 0) needed(undefined, '--cap KEY=VALUE, what the model server can do');
    const api = new ApiClient(args.texts('server'));
    const keeper = new LeaseKeeper({ api, replica, clock, random, onChange: leaseReporter(args.flag('json'), io) });
    const stop = (): void => void keeper.stop();
    io.interrupted.addEventListener('abort', stop, { once: true });
    if (io.interrupted.aborted) stop();
    try {
      await keeper.run();
    } finally {
      api.close();
    }
    if (!args.flag('json')) io.stdout.write(`gave the lease of ${printable(replica.id)} back\n`);
    return endCode(io.interrupted);
  },
};

function needed(value: string | undefined, what: string): string {
  if (value === undefined || value === '') throw new AnyserveError('usage', `give ${what}`);
  return value;
}
