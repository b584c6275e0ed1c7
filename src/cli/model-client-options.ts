import { DEFAULTS } from '../core/defaults.js';
import { CALL_OPTIONS } from './call-options.js';
import type { CommandOption } from './command.js';
import { SERVER_OPTIONS } from './server-options.js';
import { createClientTlsOptions } from './tls-options.js';

/** The options of the commands that call a model: where to look for it, and how long it may take. */
export const MODEL_CLIENT_OPTIONS: Readonly<Record<string, CommandOption>> = {
  cap: {
    type: 'text',
    value: 'CAP',
    description: 'what to ask for in place of the name: KEY=VALUE pairs',
    repeatable: true,
    suggests: 'capability',
  },
  ...SERVER_OPTIONS,
  ...createClientTlsOptions('behind https and at the replica'),
  ...CALL_OPTIONS,
  endpoint: {
    type: 'text',
    value: 'HOST:PORT',
    description: 'call this replica, and ask no API server',
    suggests: 'endpoints',
  },
  'model-version': {
    type: 'text',
    value: 'VERSION',
    description: "the model's version; the replica chooses when not given",
  },
  timeout: {
    type: 'text',
    value: 'TIME',
    description:
      'how long a call may take, all tries together; 0 fails at once; when not given, 60s, 10m for an answer that is a ' +
      'text (an input prompt, messages or text_input), 1h for a stream',
  },
  'first-part-timeout': {
    type: 'text',
    value: 'TIME',
    description: 'how long the first part of a stream may take; 0: as long as the stream',
    default: `${DEFAULTS.firstPartTimeoutMs / 60_000}m`,
  },
  'silence-timeout': {
    type: 'text',
    value: 'TIME',
    description: 'how long a stream may be silent between two parts; 0: as long as the stream',
    default: `${DEFAULTS.silenceTimeoutMs / 60_000}m`,
  },
  'max-message-bytes': {
    type: 'text',
    value: 'N',
    description: 'the largest message taken or sent',
    default: String(DEFAULTS.maxMessageBytes),
  },
};
