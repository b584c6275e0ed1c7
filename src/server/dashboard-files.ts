import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { RequestHandler } from 'express';

/** A file of the dashboard. */
export interface DashboardFile {
  /** Path of the resource. */
  readonly path: string;
  /** Name in the folder of the built files. */
  readonly name: string;
  readonly type: string;
}

/** Path of the dashboard's page. The page refers to all others by relative URLs, so a proxy can add a prefix. */
export const DASHBOARD_PATH = '/ui/';

/** All files of the dashboard. No other file can be requested, whatever the path of a request is. */
export const DASHBOARD_FILES: readonly DashboardFile[] = [
  { path: DASHBOARD_PATH, name: 'index.html', type: 'text/html; charset=utf-8' },
  { path: `${DASHBOARD_PATH}dashboard.js`, name: 'dashboard.js', type: 'text/javascript; charset=utf-8' },
  { path: `${DASHBOARD_PATH}dashboard.css`, name: 'dashboard.css', type: 'text/css; charset=utf-8' },
  { path: `${DASHBOARD_PATH}icon.svg`, name: 'icon.svg', type: 'image/svg+xml' },
];

/** Folder of the built files. It is the same for this file in src and in dist. */
const FOLDER = new URL('../../dist/dashboard/', import.meta.url);

/**
 * Limits what the page can load and do: nothing from another host, no inline script or style, and no text that becomes HTML. The
 * texts of replicas are untrusted, and the page has the token.
 */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
].join('; ');

const HEADERS = {
  // The browser asks each time whether its copy is the newest one, so that an upgrade is seen at once.
  'cache-control': 'no-cache',
  'content-security-policy': CONTENT_SECURITY_POLICY,
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
};

/** Creates the handler of `GET` for a file of the dashboard. The file is read at the first request, and then kept. */
export function createFileHandler({ name, type }: DashboardFile): RequestHandler {
  let content: Buffer | undefined;
  let etag = '';
  return async (request, response) => {
    if (!content) {
      content = await readFile(new URL(name, FOLDER));
      etag = `"${createHash('sha256').update(content).digest('base64url').slice(0, 22)}"`;
    }
    const headers = { ...HEADERS, etag };
    if (isKnown(request.headers['if-none-match'], etag)) return void response.writeHead(304, headers).end();
    const size = { 'content-type': type, 'content-length': content.length };
    response.writeHead(200, { ...headers, ...size }).end(content);
  };
}

/** Returns whether a client has the file with this tag (RFC 9110, section 13.1.2). Proxies that compress mark it as weak. */
function isKnown(ifNoneMatch: string | undefined, etag: string): boolean {
  const tags = ifNoneMatch?.split(',').map((tag) => tag.trim().replace(/^W\//, ''));
  return tags?.some((tag) => tag === etag || tag === '*') ?? false;
}
