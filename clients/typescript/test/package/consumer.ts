import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const TSC = join(ROOT, 'node_modules/typescript/bin/tsc');

/** The versions of Node to run programs with: paths of `node`, separated by colons. */
export const NODES = (process.env.NODES ?? process.execPath).split(':');

/** A project of somebody who has installed the packed tarball, and knows nothing else of the package. */
export class Consumer {
  private constructor(readonly folder: string) {}

  /** Installs the tarball of the environment variable `TARBALL`, without a network. */
  static async create(): Promise<Consumer> {
    const tarball = process.env.TARBALL;
    if (tarball === undefined) throw new Error('TARBALL: expected the path of the packed package');
    const folder = await mkdtemp(join(tmpdir(), 'clinikapi-consumer-'));
    await writeFile(join(folder, 'package.json'), '{ "name": "consumer", "private": true, "type": "module" }\n');
    await run('npm', ['install', '--offline', '--no-audit', '--no-fund', tarball], { cwd: folder });
    await mkdir(join(folder, 'node_modules/@types'), { recursive: true });
    for (const name of ['@types/node', 'undici-types']) {
      await symlink(join(ROOT, 'node_modules', name), join(folder, 'node_modules', name));
    }
    return new Consumer(folder);
  }

  async write(name: string, text: string): Promise<void> {
    await writeFile(join(this.folder, name), text);
  }

  /** Takes a file of the package's sources, as somebody would who has seen it. */
  async copy(path: string): Promise<void> {
    await cp(join(ROOT, path), join(this.folder, basename(path)));
  }

  /** Compiles files strictly, the declarations of the package included; throws with the compiler's words. */
  async compile(options: Record<string, unknown>, ...files: string[]): Promise<void> {
    const compilerOptions = {
      ...{ target: 'ES2022', strict: true, exactOptionalPropertyTypes: true, skipLibCheck: false },
      ...{ types: ['node'], ...options },
    };
    await this.write('tsconfig.json', JSON.stringify({ compilerOptions, files }));
    try {
      await run(process.execPath, [TSC, '--project', this.folder, '--preserveSymlinks'], { cwd: this.folder });
    } catch (error) {
      throw new Error(`tsc refused it:\n${(error as { stdout: string }).stdout}`);
    }
  }

  /** Runs a program in the project's folder, with nothing but these variables in its environment. */
  async run(node: string, env: Record<string, string>, ...args: string[]): Promise<string> {
    const { stdout } = await run(node, args, { cwd: this.folder, env, timeout: 120_000 });
    return stdout;
  }

  remove(): Promise<void> {
    return rm(this.folder, { recursive: true, force: true });
  }
}

/** A file of the package's sources. */
export function source(path: string): Promise<string> {
  return readFile(join(ROOT, path), 'utf8');
}
