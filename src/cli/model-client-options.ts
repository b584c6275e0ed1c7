import { DEFAULTS } from '../core/defaults.js';
import { parseDialable } from '../core/endpoint.js';
import { parseCap } from './argument-parsers.js';
import { CALL_OPTIONS } from './call-options.js';
import type { CommandOption } from './command.js';
import { PREFER_OPTION, WHERE_OPTION } from './selector-options.js';
import { SERVER_OPTIONS } from './server-options.js';
import { createClientTlsOptions } from './tls-options.js';

/** Options of the commands that call a model: discovery, TLS, timeouts and size limits. */
export const MODEL_CLIENT_OPTIONS: Readonly<Record<string, CommandOption>> = {
  cap: {
    type: 'text',
    value: 'CAP',
    description: 'find the replica by these KEY=VALUE pairs instead of by name',
    repeatable: true,
    suggests: 'capability',
    check: parseCap,
  },
  where: WHERE_OPTION,
  prefer: PREFER_OPTION,
  ...SERVER_OPTIONS,
  ...createClientTlsOptions('for https API servers and for replicas'),
  ...CALL_OPTIONS,
  endpoint: {
    type: 'text',
    value: 'HOST:PORT',
    description: 'call this replica directly, without an API server',
    suggests: 'endpoints',
    check: parseDialable,
  },
  'model-version': {
    type: 'text',
    value: 'VERSION',
    description: 'version of the model; when not given, the replica chooses',
  },
  timeout: {
    type: 'text',
    value: 'TIME',
    description:
      'timeout for a call, including retries; 0 fails at once; when not given, 60s, 10m for a response that is text ' +
      '(an input named prompt, messages or text_input), 1h for a stream',
  },
  'first-message-timeout': {
    type: 'text',
    value: 'TIME',
    description: 'timeout for the first message of a stream; 0: the timeout of the whole stream',
    default: `${DEFAULTS.firstMessageTimeoutMs / 60_000}m`,
  },
  'stream-idle-timeout': {
    type: 'text',
    value: 'TIME',
    description: 'maximum time between two messages of a stream; 0: the timeout of the whole stream',
    default: `${DEFAULTS.streamIdleTimeoutMs / 60_000}m`,
  },
  'max-message-bytes': {
    type: 'text',
    value: 'N',
    description: 'maximum size of a message, sent or received, in bytes',
    default: String(DEFAULTS.maxMessageBytes),
  },
};
