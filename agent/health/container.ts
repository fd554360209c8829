/**
 * What a container may use and does use, by its control group: version 2 (docs.kernel.org/admin-guide/cgroup-v2.html), or
 * version 1 as older hosts still have it. In a container /sys/fs/cgroup is its own group. What is not there is left out.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

export interface ContainerSample {
  cpuSeconds?: number | undefined
  throttledSeconds?: number | undefined
  cores?: number | undefined
  memoryBytes?: number | undefined
  memoryLimitBytes?: number | undefined
  oomKills?: number | undefined
  processLimit?: number | undefined
}

/** "No limit" in version 1 is a number near 2^63. */
const NO_LIMIT = 2 ** 60

export async function sampleContainer(root = '/sys/fs/cgroup'): Promise<ContainerSample> {
  const read = (path: string) => readFile(join(root, path), 'latin1').catch(() => undefined)
  return (await read('cgroup.controllers')) === undefined ? versionOne(read) : versionTwo(read)
}

type Read = (path: string) => Promise<string | undefined>

async function versionTwo(read: Read): Promise<ContainerSample> {
  const [cpu, max, current, stat, limit, events, pids] = await Promise.all(
    ['cpu.stat', 'cpu.max', 'memory.current', 'memory.stat', 'memory.max', 'memory.events', 'pids.max'].map(read),
  )
  const [quota, period] = (max ?? '').trim().split(' ').map(Number)
  return {
    cpuSeconds: millionth(field(cpu, 'usage_usec')),
    throttledSeconds: millionth(field(cpu, 'throttled_usec')),
    cores: ratio(quota, period),
    memoryBytes: withoutCache(number(current), field(stat, 'inactive_file')),
    memoryLimitBytes: number(limit),
    oomKills: field(events, 'oom_kill'),
    processLimit: number(pids),
  }
}

async function versionOne(read: Read): Promise<ContainerSample> {
  const [usage, stat, quota, period, used, memory, limit, control, pids] = await Promise.all(
    [
      'cpuacct/cpuacct.usage',
      'cpu/cpu.stat',
      'cpu/cpu.cfs_quota_us',
      'cpu/cpu.cfs_period_us',
      'memory/memory.usage_in_bytes',
      'memory/memory.stat',
      'memory/memory.limit_in_bytes',
      'memory/memory.oom_control',
      'pids/pids.max',
    ].map(read),
  )
  const nanoseconds = number(usage)
  const throttled = field(stat, 'throttled_time')
  const limitBytes = number(limit)
  return {
    cpuSeconds: nanoseconds === undefined ? undefined : nanoseconds / 1e9,
    throttledSeconds: throttled === undefined ? undefined : throttled / 1e9,
    cores: ratio(number(quota), number(period)),
    memoryBytes: withoutCache(number(used), field(memory, 'total_inactive_file')),
    memoryLimitBytes: limitBytes === undefined || limitBytes > NO_LIMIT ? undefined : limitBytes,
    oomKills: field(control, 'oom_kill'),
    processLimit: number(pids),
  }
}

/** `max` and -1 are no limit. */
function number(text: string | undefined): number | undefined {
  const value = Number.parseInt(text ?? '', 10)
  return Number.isNaN(value) || value < 0 ? undefined : value
}

const field = (text: string | undefined, name: string): number | undefined =>
  number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text ?? '')?.[1])

const millionth = (value: number | undefined): number | undefined => (value === undefined ? undefined : value / 1e6)

const ratio = (quota: number | undefined, period: number | undefined): number | undefined =>
  quota === undefined || period === undefined || !(quota > 0) || !(period > 0) ? undefined : quota / period

/** Pages that are dropped when memory is needed do not count, as in `docker stats`. */
const withoutCache = (used: number | undefined, cache = 0): number | undefined =>
  used === undefined ? undefined : Math.max(0, used - cache)
