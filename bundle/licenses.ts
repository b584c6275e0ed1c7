import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Metafile } from 'esbuild';

/** Writes the licenses of all packages that a bundle contains. `root` is the folder that the paths of the metafile are relative to. */
export function writeLicenses({ inputs }: Metafile, root: string, file: string): void {
  const packages = new Set(
    Object.keys(inputs).flatMap((path) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? []),
  );
  const notices = [...packages].sort().map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'));
    const terms = readdirSync(join(root, folder)).find((entry) => /^licen[cs]e/i.test(entry));
    const text = terms === undefined ? '' : `\n${readFileSync(join(root, folder, terms), 'utf8').trim()}\n`;
    return `${name} ${version}, ${license}\n${text}`;
  });
  writeFileSync(file, notices.join(`\n${'-'.repeat(78)}\n\n`));
}
