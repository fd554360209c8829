/** The CLI as it ships, bundled into a folder of its own, so that these tests need no `npm run build`. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { build, type Metafile } from 'esbuild'
import { afterAll } from 'vitest'
import { bundling, cliCaller, cliProgram } from '../../../scripts/bundling.mjs'

export const TEST_VERSION = '9.8.7-test'

const gateway = {
  entryPoints: { gateway: 'gateway/main.ts' },
  define: { __RCLAUDE_VERSION__: JSON.stringify(TEST_VERSION) },
}

export interface Bundle {
  directory: string
  /** Of the CLI's program, without the few lines that load it. */
  metafile: Metafile
}

/** @param programs what is built: the CLI, and the gateway when a test starts one */
export async function bundleCli(programs: readonly ('rclaude' | 'gateway')[] = ['rclaude']): Promise<Bundle> {
  const directory = mkdtempSync(join(tmpdir(), 'rclaude-cli-'))
  afterAll(() => rmSync(directory, { recursive: true, force: true, maxRetries: 5 }))
  symlinkSync(resolve('node_modules'), join(directory, 'node_modules')) // better-sqlite3 is not bundled
  writeFileSync(join(directory, 'package.json'), '{"type":"module"}')
  const where = { outdir: directory, metafile: true, logLevel: 'error' } as const
  const [{ metafile }] = await Promise.all([
    build({ ...cliProgram(TEST_VERSION), ...where }),
    build({ ...cliCaller(TEST_VERSION), ...where }),
    ...(programs.includes('gateway') ? [build({ ...bundling, ...gateway, ...where })] : []),
  ])
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
