import { AnyserveError, getErrorMessage } from '../core/errors.js';
import type { ClientTls, ServerTls } from '../core/tls.js';
import type { NamedFile } from './named-file.js';
import { createReloadingGetter, type ReloadingPorts } from './reloading-files.js';

/** The TLS files of a server or client. */
export interface TlsFiles {
  /** Certificate chain (PEM). */
  readonly cert?: NamedFile | undefined;
  /** Private key (PEM). */
  readonly key?: NamedFile | undefined;
  /** Certificate authorities (PEM). */
  readonly ca?: NamedFile | undefined;
}

/** Creates a getter for the TLS settings of a server. It reloads changed files. Throws `usage` for invalid files. */
export function loadServerTls(
  { cert, key, ca }: TlsFiles & { readonly cert: NamedFile; readonly key: NamedFile },
  ports: ReloadingPorts,
): () => ServerTls {
  const parse = (texts: readonly string[]): ServerTls => parseTls({ cert, key, ca }, texts) as ServerTls;
  return createReloadingGetter(listFiles(cert, key, ca), { parse, isComplete: isCompletePem }, ports);
}

/** Creates a getter for the TLS settings of a client. It reloads changed files. Throws `usage` for invalid files. */
export function loadClientTls(files: TlsFiles, ports: ReloadingPorts): () => ClientTls {
  const { cert, key, ca } = files;
  const parse = (texts: readonly string[]): ClientTls => parseTls(files, texts);
  return createReloadingGetter(listFiles(cert, key, ca), { parse, isComplete: isCompletePem }, ports);
}

function listFiles(...files: readonly (NamedFile | undefined)[]): NamedFile[] {
  return files.filter((file) => file !== undefined);
}

/** Returns whether every block of a PEM string is complete and no other block has begun. */
function isCompletePem(text: string): boolean {
  return hasAllEndLines(text) && /(-----|\n)$/.test(text);
}

function hasAllEndLines(text: string): boolean {
  return text.split('-----BEGIN ').length - 1 === (text.match(/-----END [^\n-]+-----/g) ?? []).length;
}

/**
 * Converts the contents of the given files, in the order `cert`, `key`, `ca`, to TLS settings, and checks that they can be
 * used together. Loads Node's modules here, because that takes as long as a short command without TLS.
 */
function parseTls({ cert, key, ca }: TlsFiles, texts: readonly string[]): ClientTls {
  const { createPrivateKey } = process.getBuiltinModule('node:crypto');
  const { createSecureContext } = process.getBuiltinModule('node:tls');
  const remaining = [...texts];
  const tls = {
    cert: cert && remaining.shift(),
    key: key && remaining.shift(),
    ca: ca && remaining.shift(),
  };
  if (ca) checkFile(ca, () => checkCertificates(tls.ca ?? ''));
  if (cert) checkFile(cert, () => checkCertificates(tls.cert ?? ''));
  if (key) checkFile(key, () => createPrivateKey(tls.key ?? '') && createSecureContext(tls));
  return tls;
}

/** Throws for an invalid certificate. OpenSSL would silently ignore it and all certificates after it. */
function checkCertificates(text: string): void {
  const { X509Certificate } = process.getBuiltinModule('node:crypto');
  if (text.includes('-----BEGIN ') && !hasAllEndLines(text))
    throw new Error('it is cut off: a PEM block has no END line');
  const blocks = text.match(/-----BEGIN (?:X509 )?CERTIFICATE-----[^-]*-----END [^-]*-----/g) ?? [text];
  for (const block of blocks) new X509Certificate(block);
}

/** Runs a check of a file. Throws `usage` with the file and the reason if the check throws. */
function checkFile({ option, path }: NamedFile, check: () => unknown): void {
  try {
    check();
  } catch (cause) {
    const { code = '' } = cause as NodeJS.ErrnoException;
    const reason = REASONS[code] ?? getErrorMessage(cause);
    throw new AnyserveError('usage', `--${option}: cannot use ${path}: ${reason}`, { cause });
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ERR_OSSL_PEM_NO_START_LINE: 'it is not PEM',
  ERR_OSSL_X509_KEY_VALUES_MISMATCH: 'the key does not match the certificate',
  ERR_OSSL_UNSUPPORTED: 'it is not PEM',
  ERR_MISSING_PASSPHRASE: 'it is encrypted; use a key without a passphrase',
};
