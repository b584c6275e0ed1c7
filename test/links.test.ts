import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const PROJECT = fileURLToPath(new URL('..', import.meta.url));

const pages = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.md'], { cwd: PROJECT })
  .toString()
  .split('\n')
  .filter(Boolean);

/** Returns the targets of a page's links and images, without code. */
function listTargets(text: string): string[] {
  const prose = text.replace(/^```[\s\S]*?^```/gm, '').replace(/`[^`\n]*`/g, '');
  const links = [...prose.matchAll(/\]\(([^)\s]+)\)/g), ...prose.matchAll(/(?:src|srcset|href)="([^"]+)"/g)];
  return links.map(([, target]) => target ?? '').filter((target) => !/^[a-z]+:/.test(target));
}

/** Returns the anchors of a page's headings, as GitHub makes them. */
function listAnchors(text: string): string[] {
  const headings = [...text.replace(/^```[\s\S]*?^```/gm, '').matchAll(/^#+ (.+)$/gm)].map(([, title]) => title ?? '');
  return headings.map((title) =>
    title
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .replace(/ /g, '-'),
  );
}

/** Returns the links of a page that lead nowhere. */
function findDeadLinks(page: string, text: string): string[] {
  return listTargets(text).filter((target) => {
    const [path = '', anchor] = target.split('#');
    const file = path === '' ? page : normalize(join(dirname(page), path));
    if (!existsSync(join(PROJECT, file))) return true;
    return anchor !== undefined && !listAnchors(readFileSync(join(PROJECT, file), 'utf8')).includes(anchor);
  });
}

describe('the pages', () => {
  it.each(pages)('%s has no dead links', (page) => {
    expect(findDeadLinks(page, readFileSync(join(PROJECT, page), 'utf8'))).toEqual([]);
  });

  it('are checked for files, anchors and images that do not exist', () => {
    const text = '# A b\n[1](README.md) [2](no.md) [3](#a-b) [4](docs/tour.md#no-such) <img src="no.svg">\n`[5](no)`';
    expect(findDeadLinks('README.md', text)).toEqual(['no.md', '#a-b', 'docs/tour.md#no-such', 'no.svg']);
  });

  it('are all linked from docs/README.md', () => {
    const index = listTargets(readFileSync(join(PROJECT, 'docs/README.md'), 'utf8'));
    const missing = pages.filter((page) => /^docs\/[^/]+$/.test(page) && page !== 'docs/README.md');
    expect(missing.filter((page) => !index.includes(page.slice('docs/'.length)))).toEqual([]);
  });
});
