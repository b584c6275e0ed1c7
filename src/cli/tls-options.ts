import { AnyserveError } from '../core/errors.js';
import type { ClientTls, ServerTls } from '../core/tls.js';
import type { NamedFile } from '../credentials/named-file.js';
import { loadClientTls, loadServerTls } from '../credentials/tls-files.js';
import { clock } from '../system.js';
import type { Arguments, CommandIo, CommandOption } from './command.js';
import { createLog } from './output.js';

const PEM_FILE = { type: 'text', value: 'FILE' } as const;

/** The options of what serves over TLS. */
export const SERVER_TLS_OPTIONS: Readonly<Record<string, CommandOption>> = {
  'tls-cert': { ...PEM_FILE, description: 'serve over TLS, with this certificate (PEM), and those that lead to it' },
  'tls-key': { ...PEM_FILE, description: 'the key of that certificate (PEM)' },
  'tls-ca': { ...PEM_FILE, description: 'let in only callers with a certificate of this authority (PEM)' },
};

/** The options of what asks others over TLS, each name behind a prefix; `where` says whom. */
export function createClientTlsOptions(where: string, prefix = ''): Readonly<Record<string, CommandOption>> {
  return {
    [`${prefix}tls-ca`]: { ...PEM_FILE, description: `trust this authority (PEM), and no other, ${where}` },
    [`${prefix}tls-cert`]: { ...PEM_FILE, description: `a certificate (PEM) to show to who asks for one ${where}` },
    [`${prefix}tls-key`]: { ...PEM_FILE, description: 'the key of that certificate (PEM)' },
  };
}

/** What to serve over TLS with, as it is now; undefined: without. Throws `usage`. */
export function readServerTls(args: Arguments, io: CommandIo): (() => ServerTls) | undefined {
  const { cert, key, ca } = filesFrom(args, '');
  if (cert && key) return loadServerTls({ cert, key, ca }, { clock, log: createLog(io) });
  if (ca) throw new AnyserveError('usage', '--tls-ca goes with --tls-cert FILE and --tls-key FILE');
  return undefined;
}

/** Whom to trust and what to show as a caller, as it is now; undefined: the options say nothing. Throws `usage`. */
export function readClientTls(args: Arguments, io: CommandIo, prefix = ''): (() => ClientTls) | undefined {
  const files = filesFrom(args, prefix);
  return files.cert || files.ca ? loadClientTls(files, { clock, log: createLog(io) }) : undefined;
}

function filesFrom(args: Arguments, prefix: string): Partial<Record<'cert' | 'key' | 'ca', NamedFile>> {
  const file = (option: string): NamedFile | undefined => {
    const path = args.text(option);
    return path === undefined ? undefined : { option, path, isSecret: option.endsWith('tls-key') };
  };
  const [cert, key, ca] = [file(`${prefix}tls-cert`), file(`${prefix}tls-key`), file(`${prefix}tls-ca`)];
  if ((cert === undefined) !== (key === undefined)) {
    const [given, missing] = cert ? ['cert', 'key'] : ['key', 'cert'];
    throw new AnyserveError('usage', `--${prefix}tls-${given} goes with --${prefix}tls-${missing} FILE`);
  }
  return { ...(cert && { cert }), ...(key && { key }), ...(ca && { ca }) };
}
