import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { sampleContainer } from '../../../agent/health/container.ts'
import { temporaryDirectory } from '../../helpers/temporary.ts'

/** A control group as the kernel shows it, in files of our own. */
function group(files: Record<string, string>): string {
  const root = temporaryDirectory()
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  return root
}

test('version 2: limits, use without cache, throttling and kills', async () => {
  const root = group({
    'cgroup.controllers': 'cpu memory pids\n',
    'cpu.stat': 'usage_usec 2500000\nuser_usec 2000000\nnr_throttled 3\nthrottled_usec 500000\n',
    'cpu.max': '150000 100000\n',
    'memory.current': '1000000\n',
    'memory.stat': 'anon 700000\ninactive_file 300000\n',
    'memory.max': '2000000\n',
    'memory.events': 'low 0\noom 1\noom_kill 2\n',
    'pids.max': '512\n',
  })
  expect(await sampleContainer(root)).toEqual({
    cpuSeconds: 2.5,
    throttledSeconds: 0.5,
    cores: 1.5,
    memoryBytes: 700_000,
    memoryLimitBytes: 2_000_000,
    oomKills: 2,
    processLimit: 512,
  })
})

test('version 1: the same, from its own files', async () => {
  const root = group({
    'cpuacct/cpuacct.usage': '2500000000\n',
    'cpu/cpu.stat': 'nr_throttled 3\nthrottled_time 500000000\n',
    'cpu/cpu.cfs_quota_us': '150000\n',
    'cpu/cpu.cfs_period_us': '100000\n',
    'memory/memory.usage_in_bytes': '1000000\n',
    'memory/memory.stat': 'cache 400000\ntotal_inactive_file 300000\n',
    'memory/memory.limit_in_bytes': '2000000\n',
    'memory/memory.oom_control': 'oom_kill_disable 0\noom_kill 2\n',
    'pids/pids.max': 'max\n',
  })
  expect(await sampleContainer(root)).toEqual({
    cpuSeconds: 2.5,
    throttledSeconds: 0.5,
    cores: 1.5,
    memoryBytes: 700_000,
    memoryLimitBytes: 2_000_000,
    oomKills: 2,
    processLimit: undefined,
  })
})

test('what has no limit, or is not there, is left out', async () => {
  const endless = group({
    'cgroup.controllers': '',
    'cpu.max': 'max 100000\n',
    'memory.max': 'max\n',
    'pids.max': 'max\n',
  })
  const old = group({ 'cpu/cpu.cfs_quota_us': '-1\n', 'memory/memory.limit_in_bytes': '9223372036854771712\n' })
  for (const root of [endless, old, temporaryDirectory()])
    expect(Object.values(await sampleContainer(root)).filter((value) => value !== undefined)).toEqual([])
})
