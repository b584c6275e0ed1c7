import { MAX_CORDON_REASON_BYTES } from '../core/cordon.js';
import { AnyserveError } from '../core/errors.js';
import { countUtf8Bytes } from '../core/ids.js';
import type { Command } from './command.js';
import { changeCordon } from './cordon-change.js';
import { SERVER_OPTIONS } from './server-options.js';

/** `anyserve cordon`: stops routing calls to a replica. */
export const cordonCommand: Command = {
  name: 'cordon',
  usage: 'ID',
  summary:
    'Stops routing calls to a replica, whatever state it reports, at every API server. Calls in progress continue. The ' +
    'replica stays registered, and stays cordoned when it registers again. A replica that a worker or "anyserve register" ' +
    'keeps registered repeats the cordon at each API server, even at one that has restarted; the output says when a ' +
    'replica does not. "anyserve uncordon" ends a cordon.',
  examples: [
    ['anyserve cordon r1', 'stop routing calls to r1'],
    ['anyserve cordon r1 --reason "GPU 3 has errors"', 'record why'],
  ],
  options: {
    ...SERVER_OPTIONS,
    reason: {
      type: 'text',
      value: 'TEXT',
      description: `why, for the lists, the logs and "no match" messages; at most ${MAX_CORDON_REASON_BYTES} bytes`,
    },
  },
  maxWords: 1,
  words: [{ suggests: 'replica ids' }],
  async run(args, io) {
    const reason = args.getText('reason') ?? '';
    const bytes = countUtf8Bytes(reason);
    if (bytes > MAX_CORDON_REASON_BYTES) {
      throw new AnyserveError(
        'usage',
        `--reason must have at most ${MAX_CORDON_REASON_BYTES} bytes; this one has ${bytes}`,
      );
    }
    return changeCordon({ cordoned: true, reason }, args, io);
  },
};

/** `anyserve uncordon`: routes calls to a cordoned replica again. */
export const uncordonCommand: Command = {
  name: 'uncordon',
  usage: 'ID',
  summary:
    'Ends the cordon of a replica at every API server: calls are routed to it again when it is ready. An API server ' +
    'remembers the cordon of a replica that is no longer registered for an hour.',
  examples: [['anyserve uncordon r1', 'route calls to r1 again']],
  options: SERVER_OPTIONS,
  maxWords: 1,
  words: [{ suggests: 'replica ids' }],
  run: (args, io) => changeCordon({ cordoned: false, reason: '' }, args, io),
};
