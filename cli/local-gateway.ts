/**
 * The user's own gateway on this machine: found, started when there is none, stopped.
 *
 * A running gateway has `gateway.json` in its data folder. To start one is to spawn it detached and to wait until that
 * file names a gateway that answers. Two commands may do that at once: the gateway itself lets only one live per data
 * folder, and both commands find the one that does.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdir, open, readFile } from 'node:fs/promises'
import { get } from 'node:http'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import { setTimeout as pause } from 'node:timers/promises'
import { z } from 'zod'
import { exists } from '../host/exists.ts'
import { within } from '../host/within.ts'
import { RclaudeError } from '../protocol/errors.ts'
import { CLAUDE_CREDENTIALS } from '../protocol/model.ts'
import { routes } from '../protocol/routes.ts'
import { gatewayDirectory } from './directories.ts'
import { readJson } from './settings.ts'
import type { World } from './world.ts'

/** How long a gateway may take to listen. */
export const START_LIMIT_MS = 15_000
/** How long it may take to end after SIGTERM; its tasks go on. */
const STOP_LIMIT_MS = 15_000
const HEALTH_LIMIT_MS = 2_000
const POLL_MS = 50
const TAKEN_PAUSE_MS = 500
const LOG_TAIL_BYTES = 2_000
/** What a gateway exits with when another one has its data folder. */
const EXIT_TAKEN = 75

const GatewayFile = z.object({ url: z.string(), pid: z.number().int(), version: z.string(), startedAt: z.string() })

export interface LocalGateway extends z.infer<typeof GatewayFile> {
  directory: string
  token: string
}

export const gatewayLog = (world: World): string => join(gatewayDirectory(world), 'gateway.log')

/** There was a local gateway once, so there may be tasks. */
export const hasLocalData = (world: World): Promise<boolean> => exists(join(gatewayDirectory(world), 'admin-token'))

/** The one that runs and answers, if any. */
export async function findLocalGateway(world: World): Promise<LocalGateway | undefined> {
  const directory = gatewayDirectory(world)
  const file = await readJson(join(directory, 'gateway.json'), GatewayFile)
  // The process id is asked first: after a crash another program may have got the port, and must not get the token.
  if (file === undefined || !isAlive(file.pid) || !(await isHealthy(file.url))) return undefined
  const token = await readFile(join(directory, 'admin-token'), 'utf8').catch(() => undefined)
  return token === undefined ? undefined : { ...file, directory, token: token.trim() }
}

/** @returns the gateway, and whether this call started it */
export async function ensureLocalGateway(world: World): Promise<{ gateway: LocalGateway; started: boolean }> {
  const found = await findLocalGateway(world)
  if (found !== undefined) return { gateway: found, started: false }
  let child = await spawnGateway(world)
  const deadline = Date.now() + START_LIMIT_MS
  while (Date.now() < deadline) {
    const gateway = await findLocalGateway(world)
    if (gateway !== undefined) {
      const started = gateway.pid === child.pid
      if (!started) await child.end()
      return { gateway, started }
    }
    const code = child.exitCode()
    if (code !== undefined && code !== EXIT_TAKEN)
      throw new RclaudeError('unavailable', `the local gateway ended at once (${code}): ${await logTail(world)}`)
    // The folder is taken: by one that is about to answer, or by one that is just ending. Then ours is tried again.
    await pause(code === EXIT_TAKEN ? TAKEN_PAUSE_MS : POLL_MS)
    if (code === EXIT_TAKEN && (await findLocalGateway(world)) === undefined) child = await spawnGateway(world)
  }
  throw new RclaudeError(
    'unavailable',
    `the local gateway did not answer within ${START_LIMIT_MS / 1000} s; see ${gatewayLog(world)}`,
  )
}

/** @returns false when none was running */
export async function stopLocalGateway(world: World): Promise<{ pid: number } | undefined> {
  const file = await readJson(join(gatewayDirectory(world), 'gateway.json'), GatewayFile)
  if (file === undefined || !isAlive(file.pid)) return undefined
  if (!(await isHealthy(file.url)) && !(await looksLikeGateway(file.pid))) return undefined
  process.kill(file.pid, 'SIGTERM')
  const deadline = Date.now() + STOP_LIMIT_MS
  while (isAlive(file.pid)) {
    if (Date.now() > deadline)
      throw new RclaudeError(
        'unavailable',
        `the gateway (pid ${file.pid}) did not end within ${STOP_LIMIT_MS / 1000} s; see ${gatewayLog(world)}`,
      )
    await pause(POLL_MS)
  }
  return { pid: file.pid }
}

/** A command of the gateway's own program on the local data; it prints for itself. @returns its exit code */
export async function runGatewayProgram(world: World, args: readonly string[]): Promise<number> {
  const program = await gatewayProgram(world)
  const child = spawn(process.execPath, [program, ...args, '--local', '--data', gatewayDirectory(world)], {
    cwd: world.cwd,
    env: gatewayEnvironment(world.env),
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  return await new Promise((done, reject) =>
    child.once('error', reject).once('exit', (code, signal) => done(code ?? (signal === 'SIGINT' ? 130 : 1))),
  )
}

async function gatewayProgram(world: World): Promise<string> {
  const program = join(world.programs, 'gateway.js')
  if (await exists(program)) return program
  throw new RclaudeError(
    'unavailable',
    `this installation has no gateway (${program} is missing); use rclaude login URL`,
  )
}

async function spawnGateway(world: World) {
  const directory = gatewayDirectory(world)
  const program = await gatewayProgram(world)
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const log = await open(gatewayLog(world), 'a', 0o600)
  try {
    const child = spawn(process.execPath, [program, '--data', directory, '--local'], {
      cwd: directory, // the daemon must not hold the user's folder
      env: gatewayEnvironment(world.env),
      detached: true,
      stdio: ['ignore', log.fd, log.fd],
    })
    let ended: number | string | undefined
    const end = new Promise<void>((done) => {
      const over = (how: number | string) => {
        ended = how
        done()
      }
      child.once('error', (error) => over(error.message))
      child.once('exit', (code, signal) => over(code ?? signal ?? 'unknown'))
    })
    child.unref()
    return {
      pid: child.pid,
      exitCode: () => ended,
      /** One that still loads would take the folder once the gateway that was found is stopped, and nobody asked for it. */
      end: async () => {
        child.kill()
        await within(STOP_LIMIT_MS, end, () => undefined)
      },
    }
  } finally {
    await log.close()
  }
}

/** Model credentials travel with each task; the daemon must not keep those of whoever happened to start it. */
function gatewayEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const dropped = new Set<string>([...CLAUDE_CREDENTIALS, 'RCLAUDE_TOKEN', 'RCLAUDE_GATEWAY', 'RCLAUDE_CONTEXT'])
  return Object.fromEntries(Object.entries(env).filter(([name]) => !dropped.has(name)))
}

/** With node:http, since it is asked before every command, and `fetch` takes longer to load than many a command to run. */
export async function isHealthy(url: string): Promise<boolean> {
  const asked = new AbortController()
  const ask = async () => {
    const [answer] = await once(get(url + routes.health.path, { signal: asked.signal }), 'response')
    return routes.health.response?.safeParse(await json(answer)).success === true
  }
  const isAnswered = ask().catch(() => false)
  return within(HEALTH_LIMIT_MS, isAnswered, () => false).finally(() => asked.abort())
}

/** A process that has ended and waits to be reaped keeps its number, and counts as gone. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2))
  } catch {
    return true // no /proc here
  }
}

/** A gateway that hangs answers nobody, and its number may by now be another program's. */
async function looksLikeGateway(pid: number): Promise<boolean> {
  const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
  return command.includes('gateway.js')
}

async function logTail(world: World): Promise<string> {
  const text = await readFile(gatewayLog(world), 'utf8').catch(() => '')
  const tail = text.slice(-LOG_TAIL_BYTES).trim().split('\n').slice(-5).join('\n')
  return `${tail === '' ? 'it said nothing' : tail}\n(log: ${gatewayLog(world)})`
}
