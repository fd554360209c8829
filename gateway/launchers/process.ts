/**
 * Launches agents as child processes of this machine. It isolates nothing: `server.ts` allows it only on a gateway that
 * serves its own user on loopback.
 *
 * A placement outlives the gateway: it is detached, writes to files, and is found again by a record in its directory.
 * The record is written before the process is started, and the process carries the launch id in its environment, so that
 * one started in the last instant before a crash is found as well. A pid alone proves nothing (they are reused): the
 * start time is part of the identity.
 */
import { spawn } from 'node:child_process'
import { mkdir, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { findByEnvironment, startTimeOf } from '../../host/processes.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import { LaunchId, TaskId } from '../../protocol/ids.ts'
import { AGENT_ENV, INHERITED_ENV } from '../../protocol/run.ts'
import type { Placement } from '../../protocol/task.ts'
import {
  agentEnvironment,
  type Launcher,
  type LaunchOptions,
  type LaunchSpec,
  type PlacementStatus,
} from './launcher.ts'

/** Between TERM and KILL. The agent needs none of it when it was told to end through the tunnel. */
const STOP_GRACE_MS = 10_000
const POLL_MS = 50
/** A process in the middle of an exec shows no environment: one look could miss it. */
const QUIET_LOOKS = 2
const LOG_TAIL_BYTES = 2_000
const RECORD = 'launch.json'
const LOG = 'agent.log'

interface Record {
  launchId: LaunchId
  taskId: TaskId
  startedAt: string
  /** Absent between the intent and the start. */
  pid?: number
  startTime?: string
}

export interface ProcessLauncherOptions {
  /** Directory of all placements: one folder each, named by the task. */
  directory: string
  /** How the agent is started: node and its script. */
  agentArgv: readonly [string, ...string[]]
  env: NodeJS.ProcessEnv
  /** What an hour of a placement counts as. */
  usdPerHour?: number | undefined
}

export function createProcessLauncher(options: ProcessLauncherOptions): Launcher {
  const folderOf = (taskId: TaskId) => join(options.directory, taskId)
  const toPlacement = (record: Record): Placement => ({
    launchId: record.launchId,
    launcher: 'process',
    handle: String(record.pid ?? 0),
    startedAt: record.startedAt,
    ...(options.usdPerHour !== undefined && { usdPerHour: options.usdPerHour }),
  })

  async function launch(spec: LaunchSpec, { signal }: Pick<LaunchOptions, 'signal'>): Promise<Placement> {
    signal.throwIfAborted()
    const known = await readRecord(folderOf(spec.taskId))
    if (known?.launchId === spec.launchId) {
      // Cut off between start and record, it runs all the same.
      const pid = known.pid ?? (await pidsOf(known))[0]
      if (pid !== undefined) return toPlacement({ ...known, pid })
    }
    const folder = folderOf(spec.taskId)
    await mkdir(folder, { recursive: true, mode: 0o700 })
    const record: Record = { launchId: spec.launchId, taskId: spec.taskId, startedAt: new Date().toISOString() }
    await writeRecord(folder, record)
    try {
      const pid = await start(folder, spec)
      const started = { ...record, pid, startTime: (await startTimeOf(pid)) ?? '' }
      await writeRecord(folder, started)
      return toPlacement(started)
    } catch (error) {
      await remove(record)
      throw error
    }
  }

  async function start(folder: string, spec: LaunchSpec): Promise<number> {
    const log = await open(join(folder, LOG), 'a', 0o600)
    try {
      const [file, ...args] = options.agentArgv
      const child = spawn(file, args, {
        cwd: folder,
        detached: true, // a session of its own: it goes on when the gateway ends
        stdio: ['ignore', log.fd, log.fd],
        env: {
          ...pick(options.env, INHERITED_ENV),
          ...agentEnvironment(spec),
          [AGENT_ENV.directory]: folder,
        },
      })
      await new Promise<void>((resolve, reject) => child.once('spawn', resolve).once('error', reject))
      child.on('error', () => {})
      child.unref()
      return child.pid as number
    } catch (error) {
      throw new RclaudeError(
        'internal',
        `cannot start the agent (${options.agentArgv[0]}): ${(error as Error).message}`,
        {
          cause: error,
        },
      )
    } finally {
      await log.close()
    }
  }

  /** One look at one process: the work beside it does not matter while the agent lives. */
  async function statusOf(record: Record | undefined): Promise<PlacementStatus> {
    if (record !== undefined && (await isAgentAlive(record))) return { status: 'running' }
    // Cut off between start and record: the placement knows what the record does not.
    if (record !== undefined && record.pid === undefined && (await pidsOf(record)).length > 0)
      return { status: 'running' }
    const tail = record && (await tailOf(join(folderOf(record.taskId), LOG)))
    return { status: 'gone', reason: 'placement_gone', ...(tail && { detail: tail }) }
  }

  async function stop(placement: Placement): Promise<void> {
    const record = (await records()).find(({ launchId }) => launchId === placement.launchId)
    if (record !== undefined) await remove(record)
  }

  async function remove(record: Record): Promise<void> {
    await endAll(record, 'SIGTERM', STOP_GRACE_MS)
    await endAll(record, 'SIGKILL', STOP_GRACE_MS)
    await rm(folderOf(record.taskId), { recursive: true, force: true, maxRetries: 3 })
  }

  async function endAll(record: Record, signal: NodeJS.Signals, graceMs: number): Promise<void> {
    const deadline = Date.now() + graceMs
    let signalled = new Set<number>()
    for (let quiet = 0; ; ) {
      const pids = await pidsOf(record)
      quiet = pids.length === 0 ? quiet + 1 : 0
      if (quiet === QUIET_LOOKS) return
      if (Date.now() > deadline) {
        if (signal === 'SIGTERM') return
        throw new RclaudeError('internal', `processes ${pids.join(', ')} of ${record.taskId} cannot be killed`)
      }
      for (const pid of pids) if (!signalled.has(pid)) kill(pid, signal)
      signalled = new Set([...signalled, ...pids])
      await new Promise((resolve) => setTimeout(resolve, POLL_MS))
    }
  }

  /** The agent and whatever it started, found by the launch id that all of them carry. */
  async function pidsOf(record: Record): Promise<number[]> {
    const carriers = await findByEnvironment(AGENT_ENV.launchId, record.launchId)
    const { pid } = record
    if (pid === undefined || carriers.includes(pid)) return carriers
    return (await isAgentAlive(record)) ? [pid, ...carriers] : carriers
  }

  /** A pid alone proves nothing: another process may have got it since. */
  async function isAgentAlive({ pid, startTime }: Record): Promise<boolean> {
    return pid !== undefined && startTime !== '' && (await startTimeOf(pid)) === startTime
  }

  async function records(): Promise<Record[]> {
    const folders = await readdir(options.directory).catch(() => [])
    const found = await Promise.all(folders.map((folder) => readRecord(join(options.directory, folder))))
    return found.filter((record) => record !== undefined)
  }

  async function list(): Promise<Array<Placement & { taskId: TaskId }>> {
    return Promise.all(
      (await records()).map(async (record) => {
        const pid = record.pid ?? (await pidsOf(record))[0]
        return { ...toPlacement({ ...record, ...(pid !== undefined && { pid }) }), taskId: record.taskId }
      }),
    )
  }

  return {
    name: 'process',
    isolation: 'none',
    offers: {},
    whyNoDocker: 'its tasks run on this machine, and use its Docker engine if it has one',
    launch,
    async inspect(placements) {
      const known = new Map((await records()).map((record) => [record.launchId, record]))
      const entries = placements.map(async ({ launchId }) => [launchId, await statusOf(known.get(launchId))] as const)
      return new Map(await Promise.all(entries))
    },
    stop,
    list,
  }
}

async function readRecord(folder: string): Promise<Record | undefined> {
  try {
    const record = JSON.parse(await readFile(join(folder, RECORD), 'utf8')) as Record
    return { ...record, launchId: LaunchId.parse(record.launchId), taskId: TaskId.parse(record.taskId) }
  } catch {
    return undefined
  }
}

async function writeRecord(folder: string, record: Record): Promise<void> {
  const temporary = join(folder, `${RECORD}.tmp`)
  await writeFile(temporary, JSON.stringify(record), { mode: 0o600 })
  await rename(temporary, join(folder, RECORD))
}

async function tailOf(file: string): Promise<string | undefined> {
  const text = await readFile(file, 'utf8').catch(() => '')
  return text === '' ? undefined : text.slice(-LOG_TAIL_BYTES).trim()
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It ended meanwhile.
  }
}

const pick = (env: NodeJS.ProcessEnv, names: readonly string[]): NodeJS.ProcessEnv =>
  Object.fromEntries(names.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]])))
