import { AnyserveError, getErrorMessage } from '../core/errors.js';
import type { ClientTls, ServerTls } from '../core/tls.js';
import type { NamedFile } from './named-file.js';
import { createReloadingGetter, type FileWatchPorts } from './reloading-files.js';

/** The files of one end of TLS, each with the option that names it. */
export interface TlsFiles {
  readonly cert?: NamedFile | undefined;
  readonly key?: NamedFile | undefined;
  readonly ca?: NamedFile | undefined;
}

/** Returns a getter for the TLS files of a server, read again when they change. Throws `usage` when they can't be used. */
export function loadServerTls(
  { cert, key, ca }: TlsFiles & { readonly cert: NamedFile; readonly key: NamedFile },
  world: FileWatchPorts,
): () => ServerTls {
  const parse = (texts: readonly string[]): ServerTls => checked({ cert, key, ca }, texts) as ServerTls;
  return createReloadingGetter(present(cert, key, ca), { parse, isComplete: isWholePem }, world);
}

/** Returns a getter for the TLS files of a caller, read again when they change. Throws `usage` when they can't be used. */
export function loadClientTls(files: TlsFiles, world: FileWatchPorts): () => ClientTls {
  const { cert, key, ca } = files;
  const parse = (texts: readonly string[]): ClientTls => checked(files, texts);
  return createReloadingGetter(present(cert, key, ca), { parse, isComplete: isWholePem }, world);
}

function present(...files: readonly (NamedFile | undefined)[]): NamedFile[] {
  return files.filter((file) => file !== undefined);
}

/** Whether every block of a PEM text has its end, and nothing has begun after the last one. */
function isWholePem(text: string): boolean {
  return hasAllEnds(text) && /(-----|\n)$/.test(text);
}

function hasAllEnds(text: string): boolean {
  return text.split('-----BEGIN ').length - 1 === (text.match(/-----END [^\n-]+-----/g) ?? []).length;
}

/**
 * Returns the texts of the files that are given, in the order certificate, key, authorities, after checking that they can
 * be used together. Node's modules are loaded here, because they take as long as a short command without any files.
 */
function checked({ cert, key, ca }: TlsFiles, texts: readonly string[]): ClientTls {
  const { createPrivateKey } = process.getBuiltinModule('node:crypto');
  const { createSecureContext } = process.getBuiltinModule('node:tls');
  const left = [...texts];
  const tls = {
    cert: cert && left.shift(),
    key: key && left.shift(),
    ca: ca && left.shift(),
  };
  if (ca) check(ca, () => parseCertificates(tls.ca ?? ''));
  if (cert) check(cert, () => parseCertificates(tls.cert ?? ''));
  if (key) check(key, () => createPrivateKey(tls.key ?? '') && createSecureContext(tls));
  return tls;
}

/** OpenSSL silently leaves out the certificates from the first one on that it can't read; here that is an error. */
function parseCertificates(text: string): void {
  const { X509Certificate } = process.getBuiltinModule('node:crypto');
  if (text.includes('-----BEGIN ') && !hasAllEnds(text)) throw new Error('it is cut off: a block has no end');
  const blocks = text.match(/-----BEGIN (?:X509 )?CERTIFICATE-----[^-]*-----END [^-]*-----/g) ?? [text];
  for (const block of blocks) new X509Certificate(block);
}

function check({ option, path }: NamedFile, read: () => unknown): void {
  try {
    read();
  } catch (cause) {
    const { code = '' } = cause as NodeJS.ErrnoException;
    const reason = REASONS[code] ?? getErrorMessage(cause);
    throw new AnyserveError('usage', `--${option}: cannot use ${path}: ${reason}`, { cause });
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ERR_OSSL_PEM_NO_START_LINE: 'it is not in the form of PEM',
  ERR_OSSL_X509_KEY_VALUES_MISMATCH: 'the key is not that of the certificate',
  ERR_OSSL_UNSUPPORTED: 'it is not in the form of PEM',
  ERR_MISSING_PASSPHRASE: 'it is encrypted; give a key without a passphrase',
};
