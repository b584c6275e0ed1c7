import { AnyserveError, messageOf } from '../core/errors.js';
import type { ClientTls, ServerTls } from '../core/tls.js';
import { type FilesWorld, type NamedFile, renewedFiles } from './renewed-files.js';

/** The files of one end of TLS, each with the option that names it. */
export interface TlsFiles {
  readonly cert?: NamedFile | undefined;
  readonly key?: NamedFile | undefined;
  readonly ca?: NamedFile | undefined;
}

/** What is in the files of a server, as it is now. Throws `usage` when it cannot be used at the beginning. */
export function serverTlsFromFiles(
  { cert, key, ca }: TlsFiles & { readonly cert: NamedFile; readonly key: NamedFile },
  world: FilesWorld,
): () => ServerTls {
  return renewedFiles(
    present(cert, key, ca),
    (texts) => checked({ cert, key, ca }, texts) as ClientTls & { readonly cert: string; readonly key: string },
    world,
  );
}

/** What is in the files of a caller, as it is now. Throws `usage` when it cannot be used at the beginning. */
export function clientTlsFromFiles(files: TlsFiles, world: FilesWorld): () => ClientTls {
  const { cert, key, ca } = files;
  return renewedFiles(present(cert, key, ca), (texts) => checked(files, texts), world);
}

function present(...files: readonly (NamedFile | undefined)[]): NamedFile[] {
  return files.filter((file) => file !== undefined);
}

/**
 * The texts of the files that are there, in the order of certificate, key and authorities. Node's
 * modules are loaded here, by what has files to check: they take as long as a short command without any.
 */
function checked({ cert, key, ca }: TlsFiles, texts: readonly string[]): ClientTls {
  const { createPrivateKey, X509Certificate } = process.getBuiltinModule('node:crypto');
  const { createSecureContext } = process.getBuiltinModule('node:tls');
  const left = [...texts];
  const tls = {
    cert: cert && left.shift(),
    key: key && left.shift(),
    ca: ca && left.shift(),
  };
  // An authority that cannot be read would be left out without a word, and with it who is kept out.
  if (ca) check(ca, () => new X509Certificate(tls.ca ?? ''));
  if (cert) check(cert, () => new X509Certificate(tls.cert ?? ''));
  if (key) check(key, () => createPrivateKey(tls.key ?? '') && createSecureContext(tls));
  return tls;
}

function check({ option, path }: NamedFile, read: () => unknown): void {
  try {
    read();
  } catch (cause) {
    const { code = '' } = cause as NodeJS.ErrnoException;
    const reason = REASONS[code] ?? messageOf(cause);
    throw new AnyserveError('usage', `--${option}: cannot use ${path}: ${reason}`, { cause });
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ERR_OSSL_PEM_NO_START_LINE: 'it is not in the form of PEM',
  ERR_OSSL_X509_KEY_VALUES_MISMATCH: 'the key is not that of the certificate',
  ERR_OSSL_UNSUPPORTED: 'it is not in the form of PEM',
  ERR_MISSING_PASSPHRASE: 'it is encrypted; give a key without a passphrase',
};
