/**
 * The previous release's bundles beside ours: an older CLI and an older agent work with this gateway, and this CLI with an
 * older gateway. Bundles are built from the newest release tag before this version. Where there is none (nothing is released
 * yet, or the clone has no tags) there is nothing to run, which is said.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { stopTasksAfterwards } from '../helpers/stop-tasks.ts'
import { startWorld, World } from '../helpers/world.ts'

const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string }
const TIMEOUT_MS = 120_000

function previousTag(): string | undefined {
  const tags = spawnSync('git', ['tag', '--list', 'v*', '--merged', 'HEAD', '--sort=-v:refname'], { encoding: 'utf8' })
  return tags.stdout.split('\n').find((tag) => tag !== '' && tag !== `v${version}`)
}

const tag = previousTag()
if (tag === undefined)
  console.log('left out: no release tag before this version is here, so there are no bundles to try')
else console.log(`trying the bundles of ${tag}`)

const folder = mkdtempSync(join(tmpdir(), 'rclaude-previous-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const old = join(folder, 'release', 'dist')
/** Our bundles, but for their agent. */
const mixed = join(folder, 'mixed', 'dist')

beforeAll(() => {
  if (tag === undefined) return
  const release = join(folder, 'release')
  for (const place of [release, join(folder, 'mixed')]) {
    mkdirSync(place)
    symlinkSync(resolve('node_modules'), join(place, 'node_modules'))
  }
  execFileSync('/bin/sh', ['-c', 'git archive "$0" | tar -x -C "$1"', tag, release])
  execFileSync(process.execPath, ['scripts/build.mjs'], { cwd: release, stdio: ['ignore', 'ignore', 'inherit'] })
  cpSync('dist', mixed, { recursive: true })
  cpSync(join(old, 'agent.js'), join(mixed, 'agent.js'))
}, TIMEOUT_MS)

/** A task that runs, is stepped into, and leaves a change. */
async function worksThrough(world: World, cli: string): Promise<void> {
  const project = join(world.directory, 'project')
  mkdirSync(project)
  const env = { ...world.userEnvironment(), ...world.asAdmin }
  const run = (program: string, args: string[]) =>
    spawnSync(program, args, { cwd: project, env, encoding: 'utf8', timeout: 60_000 })
  for (const args of [
    ['init', '-q'],
    ['-c', 'user.name=t', '-c', 'user.email=t@t', 'commit', '-q', '--allow-empty', '-m', 'first'],
  ])
    expect(run('git', args).status).toBe(0)
  const rclaude = (...args: string[]) => run(process.execPath, [join(cli, 'rclaude.js'), ...args])
  const ran = rclaude('run', '--unsandboxed', '--keep', '10m', '--', 'sh', '-c', 'echo made > made.txt')
  expect({ status: ran.status, stderr: ran.stderr }).toMatchObject({ status: 0 })
  expect(rclaude('exec', '@last', '--', 'cat', 'made.txt').stdout).toBe('made\n')
  expect(rclaude('apply', '@last').status).toBe(0)
  expect(readFileSync(join(project, 'made.txt'), 'utf8')).toBe('made\n')
  expect(rclaude('stop', '@last').status).toBe(0)
  rmSync(project, { recursive: true })
}

test.skipIf(tag === undefined)('its CLI and its agent work with this gateway', { timeout: TIMEOUT_MS }, async () => {
  const world = await startWorld({ dist: mixed })
  stopTasksAfterwards(world)
  await worksThrough(world, resolve('dist'))
  await worksThrough(world, old)
})

test.skipIf(tag === undefined)('this CLI works with its gateway', { timeout: TIMEOUT_MS }, async () => {
  const world = new World()
  world.dist = old
  onTestFinished(() => world.close())
  await world.startGateway()
  stopTasksAfterwards(world)
  await worksThrough(world, resolve('dist'))
})
