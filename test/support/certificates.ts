import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A certificate and its key in PEM, as files and as texts. */
export interface Certificate {
  readonly certFile: string;
  readonly keyFile: string;
  readonly cert: string;
  readonly key: string;
}

/** Subject and validity of a certificate. */
export interface CertificateRequest {
  /** Subject alternative names in OpenSSL's notation. Default: `DNS:localhost,IP:127.0.0.1`. */
  readonly names?: string;
  /** Start and end of validity, as `YYYYMMDDHHMMSSZ`. Default: one day from now. */
  readonly between?: readonly [from: string, until: string];
}

/** A certificate authority, created with openssl for one test file. */
export interface Authority extends Certificate {
  sign(name: string, request?: CertificateRequest): Certificate;
}

/** Creates a certificate authority in a new folder. */
export function createAuthority(name = 'authority'): Authority {
  const folder = mkdtempSync(join(tmpdir(), 'anyserve-tls-'));
  const at = (file: string): string => join(folder, file);
  const openssl = (...args: string[]): Buffer => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const made = (base: string): Certificate => {
    const [certFile, keyFile] = [at(`${base}.pem`), at(`${base}.key`)];
    return { certFile, keyFile, cert: readFileSync(certFile, 'utf8'), key: readFileSync(keyFile, 'utf8') };
  };
  openssl('req', '-x509', ...newKey, '-subj', `/CN=${name}`, '-days', '1', '-keyout', 'ca.key', '-out', 'ca.pem');
  writeFileSync(at('index'), '');
  writeFileSync(
    at('ca.conf'),
    '[ca]\ndefault_ca=d\n[d]\ndatabase=index\nnew_certs_dir=.\nrand_serial=yes\ndefault_md=sha256\nunique_subject=no\npolicy=p\n[p]\ncommonName=supplied\n',
  );
  return {
    ...made('ca'),
    sign(base, { names = 'DNS:localhost,IP:127.0.0.1', between } = {}) {
      writeFileSync(at(`${base}.ext`), `subjectAltName=${names}\n`);
      openssl('req', ...newKey, '-subj', `/CN=${base}`, '-keyout', `${base}.key`, '-out', `${base}.csr`);
      const time = between ? ['-startdate', between[0], '-enddate', between[1]] : ['-days', '1'];
      const signing = ['-config', 'ca.conf', '-batch', '-notext', '-cert', 'ca.pem', '-keyfile', 'ca.key'];
      openssl('ca', ...signing, ...time, '-extfile', `${base}.ext`, '-in', `${base}.csr`, '-out', `${base}.pem`);
      return made(base);
    },
  };
}
