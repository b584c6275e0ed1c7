import { AnyserveError } from '../core/errors.js';
import type { ClientTls, ServerTls } from '../core/tls.js';
import type { NamedFile } from '../credentials/named-file.js';
import { loadClientTls, loadServerTls } from '../credentials/tls-files.js';
import { clock } from '../system.js';
import type { Arguments, CommandIo, CommandOption } from './command.js';
import { createLog } from './log-lines.js';

const PEM_FILE = { type: 'text', value: 'FILE' } as const;

/** TLS options of a server. */
export const SERVER_TLS_OPTIONS: Readonly<Record<string, CommandOption>> = {
  'tls-cert': { ...PEM_FILE, description: 'serve over TLS with this certificate chain (PEM)' },
  'tls-key': { ...PEM_FILE, description: 'private key of the certificate (PEM)' },
  'tls-ca': { ...PEM_FILE, description: 'require client certificates issued by this CA (PEM)' },
};

/** Creates the TLS options of a client. `peers` names the servers that they apply to, `prefix` precedes each option name. */
export function createClientTlsOptions(peers: string, prefix = ''): Readonly<Record<string, CommandOption>> {
  return {
    [`${prefix}tls-ca`]: { ...PEM_FILE, description: `trust only this CA (PEM) ${peers}` },
    [`${prefix}tls-cert`]: { ...PEM_FILE, description: `client certificate (PEM) ${peers}` },
    [`${prefix}tls-key`]: { ...PEM_FILE, description: 'private key of the certificate (PEM)' },
  };
}

/** Returns a getter of the current server certificates. Undefined: serve without TLS. Throws `usage`. */
export function readServerTls(args: Arguments, io: CommandIo): (() => ServerTls) | undefined {
  const { cert, key, ca } = readTlsFiles(args, '');
  if (cert && key) return loadServerTls({ cert, key, ca }, { clock, log: createLog(io, args) });
  if (ca) throw new AnyserveError('usage', '--tls-ca requires --tls-cert FILE and --tls-key FILE');
  return undefined;
}

/** Returns a getter of the current client certificates. Undefined: no TLS option is given. Throws `usage`. */
export function readClientTls(args: Arguments, io: CommandIo, prefix = ''): (() => ClientTls) | undefined {
  const files = readTlsFiles(args, prefix);
  return files.cert || files.ca ? loadClientTls(files, { clock, log: createLog(io, args) }) : undefined;
}

function readTlsFiles(args: Arguments, prefix: string): Partial<Record<'cert' | 'key' | 'ca', NamedFile>> {
  const toFile = (option: string): NamedFile | undefined => {
    const path = args.getText(option);
    return path === undefined ? undefined : { option, path, isSecret: option.endsWith('tls-key') };
  };
  const [cert, key, ca] = [toFile(`${prefix}tls-cert`), toFile(`${prefix}tls-key`), toFile(`${prefix}tls-ca`)];
  if ((cert === undefined) !== (key === undefined)) {
    const [present, missing] = cert ? ['cert', 'key'] : ['key', 'cert'];
    throw new AnyserveError('usage', `--${prefix}tls-${present} requires --${prefix}tls-${missing} FILE`);
  }
  return { ...(cert && { cert }), ...(key && { key }), ...(ca && { ca }) };
}
