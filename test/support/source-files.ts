import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseAst } from 'vitest/node';

const SRC = fileURLToPath(new URL('../../src', import.meta.url));

/** An import or re-export of a source file. */
export interface Import {
  readonly from: string;
  /** A path below src for a file of this project; otherwise the name of the package. */
  readonly to: string;
}

/** A function and its length, from the line it begins on to the line it ends on. */
export interface FunctionSize {
  readonly name: string;
  readonly lines: number;
}

/** A TypeScript file and the parts of it that the architecture rules look at. Paths are relative to src. */
export interface SourceFile {
  readonly path: string;
  readonly lines: number;
  readonly imports: readonly Import[];
  /** Names that the file both declares and exports. Re-exports do not count. */
  readonly exports: readonly string[];
  readonly functions: readonly FunctionSize[];
}

/** A node of the syntax tree (ESTree with the additions for TypeScript). */
interface SyntaxNode {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [field: string]: unknown;
}

/** Lists all files below src that people write: generated code in `gen` folders is left out. */
export function listFiles(): string[] {
  return readdirSync(SRC, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name).slice(SRC.length + 1))
    .filter((path) => !path.includes('/gen/'))
    .sort();
}

/** Reads and parses all TypeScript files that {@link listFiles} lists. */
export function readSourceFiles(): SourceFile[] {
  return listFiles()
    .filter((path) => /\.tsx?$/.test(path))
    .map((path) => parseSourceFile(path, readFileSync(join(SRC, path), 'utf8')));
}

/** Parses one file. Throws when its text is not TypeScript. */
export function parseSourceFile(path: string, text: string): SourceFile {
  const imports: Import[] = [];
  const exports = new Set<string>();
  const functions: FunctionSize[] = [];
  const lang = path.endsWith('.tsx') ? 'tsx' : 'ts';
  const program = parseAst(text, { lang }, path) as unknown as SyntaxNode;
  visit(program, 'module', (node, name) => {
    const target = getImportTarget(node);
    if (target !== undefined) imports.push({ from: path, to: resolveImport(path, target) });
    for (const exported of getExportedNames(node)) exports.add(exported);
    if (/^(FunctionDeclaration|FunctionExpression|ArrowFunctionExpression)$/.test(node.type)) {
      functions.push({ name, lines: countLines(text.slice(node.start, node.end)) });
    }
  });
  return { path, lines: countLines(text.trimEnd()), imports, exports: [...exports], functions };
}

/** Calls `enter` for a node and all nodes below it, each with the name of the nearest declaration around it. */
function visit(node: SyntaxNode, nameAround: string, enter: (node: SyntaxNode, name: string) => void): void {
  const name = getDeclaredName(node) ?? nameAround;
  enter(node, name);
  for (const child of Object.values(node).flat()) if (isNode(child)) visit(child, name, enter);
}

function isNode(value: unknown): value is SyntaxNode {
  return typeof (value as SyntaxNode | null)?.type === 'string';
}

function getDeclaredName({ id, key }: SyntaxNode): string | undefined {
  const identifier = id ?? key;
  if (!isNode(identifier) || typeof identifier['name'] !== 'string') return undefined;
  return identifier.type === 'PrivateIdentifier' ? `#${identifier['name']}` : identifier['name'];
}

/** Returns the module that a node imports: statically, with `import()`, or with `process.getBuiltinModule()`. */
function getImportTarget(node: SyntaxNode): string | undefined {
  const [argument] = node.type === 'CallExpression' ? (node['arguments'] as SyntaxNode[]) : [];
  const property = (node['callee'] as SyntaxNode | undefined)?.['property'] as SyntaxNode | undefined;
  const source = property?.['name'] === 'getBuiltinModule' ? argument : node['source'];
  return isNode(source) && typeof source['value'] === 'string' ? source['value'] : undefined;
}

function getExportedNames(node: SyntaxNode): string[] {
  if (node.type !== 'ExportNamedDeclaration' || node['source']) return [];
  const { declaration } = node;
  const declared = isNode(declaration)
    ? ((declaration['declarations'] as SyntaxNode[] | undefined) ?? [declaration])
    : [];
  const names = declared.map((one) => getDeclaredName(one));
  const listed = (node['specifiers'] as SyntaxNode[]).map(({ exported }) => (exported as SyntaxNode)['name'] as string);
  return [...names, ...listed].filter((name) => name !== undefined);
}

function resolveImport(from: string, target: string): string {
  if (!target.startsWith('.')) return target;
  const path = normalize(join(dirname(from), target)).replace(/\.js$/, '.ts');
  return existsSync(join(SRC, `${path}x`)) ? `${path}x` : path;
}

function countLines(text: string): number {
  return text.split('\n').length;
}
