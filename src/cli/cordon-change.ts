import type { CordonOutcome } from '../client/cordon-client.js';
import type { ServerAddress } from '../client/server-list.js';
import { escapeControls } from '../core/control-characters.js';
import type { Cordon } from '../core/cordon.js';
import { AnyserveError } from '../core/errors.js';
import { parseReplicaId, type ReplicaId } from '../core/ids.js';
import type { Arguments, CommandIo } from './command.js';
import { createLog } from './log-lines.js';
import { createApiClient } from './server-options.js';

/**
 * Cordons or uncordons the replica that the command line names, at every API server, and prints what each did. Resolves to
 * 0 if all servers that responded did it. Otherwise rejects with their reasons.
 */
export async function changeCordon(
  change: Pick<Cordon, 'cordoned' | 'reason'>,
  args: Arguments,
  io: CommandIo,
): Promise<number> {
  const [word] = args.words;
  if (word === undefined) {
    throw new AnyserveError('usage', 'give the id of a replica; list the ids with "anyserve registry"');
  }
  const id = parseReplicaId(word);
  const api = createApiClient(args, io);
  try {
    const { responses, failures } = await api.cordons.set(id, change, { signal: io.interrupted });
    const lines = responses.flatMap((one) => formatDone(id, one) ?? []);
    const records = [
      ...responses.map(({ server, value }) => toRecord(server, value)),
      ...failures.map(({ server, error }) => toRecord(server, { kind: 'refused', error })),
    ];
    const output = args.hasFlag('json') ? [JSON.stringify({ replica_id: id, servers: records })] : lines;
    io.stdout.write(output.map((line) => `${escapeControls(line)}\n`).join(''));
    for (const { error } of failures) createLog(io).warn(`not done at one API server: ${error.message}`);
    const refusals = responses.flatMap(({ value }) => (value.kind === 'refused' ? [value.error] : []));
    const [first] = refusals;
    if (!first) return 0;
    throw refusals.length === 1
      ? first
      : new AnyserveError(first.code, refusals.map(({ message }) => message).join('; '), { cause: first });
  } finally {
    api.close();
  }
}

/** The outcome at one server. */
interface ServerOutcome {
  readonly server: ServerAddress;
  readonly value: CordonOutcome;
}

/** Formats the line of a server that did what was asked. Returns undefined for others, which are reported as errors. */
function formatDone(id: ReplicaId, { server, value }: ServerOutcome): string | undefined {
  if (value.kind === 'refused') return undefined;
  const { cordoned } = value.cordon;
  const line = `${cordoned ? 'cordoned' : 'uncordoned'} ${id} at ${server.name}`;
  if (value.isRepeated || !cordoned) return line;
  return `${line}; the replica does not repeat it, so it ends when this API server stops`;
}

function toRecord({ name }: ServerAddress, outcome: CordonOutcome): Readonly<Record<string, unknown>> {
  if (outcome.kind === 'refused') {
    const { code, message } = outcome.error;
    return { server: name, error: { code, message } };
  }
  const { cordoned, reason, atMs } = outcome.cordon;
  return {
    server: name,
    status: cordoned ? 'cordoned' : 'uncordoned',
    cordon: { cordoned, reason, at: atMs },
    repeated_by_replica: outcome.isRepeated,
  };
}
