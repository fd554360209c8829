/** What ails the machine of a running task, by what its agent says of it. */
import { bad, type Finding, ok } from '../../protocol/finding.ts'
import type { AgentHealth } from '../../protocol/health.ts'
import { formatBytes } from '../../protocol/units.ts'

/** Less than this is not enough for snapshots, checkpoints and results. */
export const LOW_DISK_BYTES = 256 * 1024 ** 2

const LOW_DISK_SHARE = 0.02
const LOW_FILES = 1_000
const FULL_SHARE = 0.9
const THROTTLED_SHARE = 0.25
const MANY_EVENTS_BEHIND = 1_000

export function machineFindings(agent: AgentHealth, eventsBehind: number): Finding[] {
  return [
    cpuFinding(agent),
    memoryFinding(agent),
    ...agent.disks.map(diskFinding),
    processFinding(agent),
    outputFinding(agent),
    eventsFinding(eventsBehind),
    programsFinding(agent),
  ]
}

function cpuFinding({ cpu }: AgentHealth): Finding {
  const detail = `${cpu.used.toFixed(2)} of ${cpu.cores} cores`
  if ((cpu.throttled ?? 0) > THROTTLED_SHARE)
    return bad(
      'cpu',
      `${detail}, held back ${Math.round((cpu.throttled ?? 0) * 100)}% of the time`,
      'give it more with --cpu',
    )
  return ok('cpu', detail)
}

function memoryFinding({ memory }: AgentHealth): Finding {
  const detail = `${formatBytes(memory.usedBytes)} of ${formatBytes(memory.limitBytes)}`
  if ((memory.oomKills ?? 0) > 0)
    return bad(
      'memory',
      `${detail}; ${memory.oomKills} processes were killed for want of it`,
      'give it more with --memory',
    )
  if (memory.usedBytes > memory.limitBytes * FULL_SHARE)
    return bad('memory', `${detail}: nearly full`, 'give it more with --memory, before the kernel kills something')
  return ok('memory', detail)
}

function diskFinding(disk: AgentHealth['disks'][number]): Finding {
  const detail = `${formatBytes(disk.freeBytes)} of ${formatBytes(disk.totalBytes)} free (${disk.holds.join(', ')})`
  if (disk.freeFiles !== undefined && disk.freeFiles < LOW_FILES)
    return bad(
      'disk',
      `${detail}, room for ${disk.freeFiles} more files`,
      'delete some in the task: small files use up the inodes',
    )
  if (disk.freeBytes < Math.min(LOW_DISK_BYTES, disk.totalBytes * LOW_DISK_SHARE))
    return bad(
      'disk',
      `${detail}: nearly full`,
      'rclaude exec TASK -- du -xsh /tmp . shows where it went; delete some of it',
    )
  return ok('disk', detail)
}

function processFinding({ processes, started }: AgentHealth): Finding {
  const detail = `${processes.total} run${processes.limit === undefined ? '' : ` of at most ${processes.limit}`}, ${started.running} of them by exec, shell or ssh`
  if (processes.limit !== undefined && processes.total > processes.limit * FULL_SHARE)
    return bad('processes', `${detail}: nearly all`, 'rclaude top TASK shows them; more cannot be started at the limit')
  return ok('processes', detail)
}

function outputFinding({ started }: AgentHealth): Finding {
  const held = `${formatBytes(started.heldBytes)} is held for clients`
  const [first] = started.heldBack
  if (first === undefined) return ok('output', held)
  const more = started.heldBack.length > 1 ? ` and ${started.heldBack.length - 1} more` : ''
  return bad(
    'output',
    `${held}; process ${first}${more} waits for its client to read`,
    'the client is slow or stopped: leave it, and the process goes on',
  )
}

const eventsFinding = (behind: number): Finding =>
  behind > MANY_EVENTS_BEHIND
    ? bad(
        'events',
        `the gateway is ${behind} behind`,
        'it catches up when the task says less; a full disk of the gateway also does this',
      )
    : ok('events', behind === 0 ? 'all are on the gateway' : `the gateway is ${behind} behind`)

/** What is not there is no fault until somebody wants it. */
function programsFinding({ programs }: AgentHealth): Finding {
  const wants: Record<string, string> = {
    git: 'checkpoints and results',
    'git-lfs': 'git-lfs inside the task',
    sshd: 'rclaude ssh',
  }
  const missing = Object.entries(wants).filter(([name]) => programs[name] === false)
  if (programs.git === false)
    return bad('programs', 'there is no git in the task', 'install git in its image: results cannot be saved')
  const text = missing.map(([name, why]) => `no ${name} (${why})`).join(', ')
  return ok('programs', text === '' ? 'all that rclaude uses are there' : text)
}
