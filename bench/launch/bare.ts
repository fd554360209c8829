/** Claude Code without us: as a program of this machine, and as the program of a container. */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { createInterface } from 'node:readline'

const CLAUDE = ['-p', '--output-format', 'stream-json', '--verbose']

/** Milliseconds to the first words of the model. @param environment of Claude Code */
export async function bareClaude(program: string, environment: Record<string, string>): Promise<number> {
  const home = mkdtempSync(join(tmpdir(), 'rclaude-bench-home-'))
  const firstMs = await firstWords([program, ...CLAUDE], home, { HOME: home, ...environment })
  rmSync(home, { recursive: true, force: true })
  return firstMs
}

/** The same in a container that goes when it ends. @param docker program and options that come before any command */
export function bareContainer(
  docker: readonly string[],
  { image, user }: { image: string; user: string },
  environment: Record<string, string>,
): Promise<number> {
  const own = { ...environment, HOME: '/tmp' }
  const variables = Object.entries(own).flatMap(([name, value]) => ['-e', `${name}=${value}`])
  const where = ['--network', 'host', '-u', user, '-w', '/tmp', '--entrypoint', '/bin/claude']
  return firstWords([...docker, 'run', '--rm', '-i', ...where, ...variables, image, ...CLAUDE], '/', {})
}

async function firstWords([program = '', ...args]: string[], cwd: string, env: NodeJS.ProcessEnv): Promise<number> {
  const begun = performance.now()
  const child = spawn(program, args, {
    cwd,
    env: { PATH: process.env.PATH ?? '', ...env },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  child.stdin.end('say hello')
  const ended = new Promise((done) => child.once('exit', done))
  let firstMs: number | undefined
  for await (const line of createInterface({ input: child.stdout }))
    if (firstMs === undefined && line.includes('"type":"assistant"')) firstMs = performance.now() - begun
  await ended
  if (firstMs === undefined) throw new Error(`${program} said nothing`)
  return firstMs
}
