/** The CLI as it ships, bundled into a folder of its own, so that these tests need no `npm run build`. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { build, type Metafile } from 'esbuild'
import { afterAll } from 'vitest'
import { bundling } from '../../../scripts/bundling.mjs'

export const TEST_VERSION = '9.8.7-test'

export interface Bundle {
  directory: string
  metafile: Metafile
}

/** @param programs what is built: the CLI, and the gateway when a test starts one */
export async function bundleCli(programs: readonly ('rclaude' | 'gateway')[] = ['rclaude']): Promise<Bundle> {
  const directory = mkdtempSync(join(tmpdir(), 'rclaude-cli-'))
  afterAll(() => rmSync(directory, { recursive: true, force: true, maxRetries: 5 }))
  symlinkSync(resolve('node_modules'), join(directory, 'node_modules')) // better-sqlite3 is not bundled
  const entries = { rclaude: 'cli/main.ts', gateway: 'gateway/main.ts' }
  const { metafile } = await build({
    entryPoints: Object.fromEntries(programs.map((name) => [name, entries[name]])),
    outdir: directory,
    ...bundling,
    splitting: true,
    chunkNames: 'chunks/[name]-[hash]',
    define: { __RCLAUDE_VERSION__: JSON.stringify(TEST_VERSION) },
    metafile: true,
    logLevel: 'error',
  })
  return { directory, metafile }
}

export interface CliResult {
  code: number | null
  stdout: string
  stderr: string
}

export interface CliOptions {
  cwd?: string
  stdin?: string
  env?: Record<string, string>
}

/** A user whose home is `home`, with nothing else in the environment but what a test gives. */
export function startCli(
  bundle: Pick<Bundle, 'directory'>,
  home: string,
  args: readonly string[],
  options: CliOptions = {},
): { process: ChildProcess; result: Promise<CliResult> } {
  const child = spawn(process.execPath, [join(bundle.directory, 'rclaude.js'), ...args], {
    cwd: options.cwd ?? home,
    env: { PATH: process.env.PATH, HOME: home, ...options.env },
  })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  child.stdin.on('error', () => {})
  child.stdin.end(options.stdin)
  const result = new Promise<CliResult>((done) => child.once('close', (code) => done({ code, stdout, stderr })))
  return { process: child, result }
}

export const runCli = (
  bundle: Pick<Bundle, 'directory'>,
  home: string,
  args: readonly string[],
  options?: CliOptions,
): Promise<CliResult> => startCli(bundle, home, args, options).result
