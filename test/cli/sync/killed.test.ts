/** What a sync or an upload leaves that was killed in the middle: it does not travel, and a later sync deletes it. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, it, vi } from 'vitest'
import { STALE_MS } from '../../../host/tree/list.ts'
import { until } from '../../agent/http/loopback.ts'
import { temporaryDirectory } from '../../helpers/temporary.ts'
import { contents, makeFolders, write } from './folders.ts'

afterEach(() => void vi.useRealTimers())

const temporaries = (folder: string) => readdirSync(folder).filter((name) => name.startsWith('.rclaude-'))

/** Begins to place a file, never gets all of it, and is killed there with SIGKILL. */
async function placeAndBeKilled(folder: string): Promise<string> {
  const child: ChildProcess = spawn(
    process.execPath,
    ['test/helpers/run-bundled.mjs', 'test/cli/sync/fixtures/place-half.ts', folder],
    { stdio: 'ignore', env: { ...process.env, TMPDIR: temporaryDirectory() } },
  )
  const ended = once(child, 'exit')
  try {
    await until('the temporary file is there', () => child.exitCode !== null || temporaries(folder).length > 0, 30_000)
  } finally {
    child.kill('SIGKILL')
    await ended
  }
  const [name] = temporaries(folder)
  if (name === undefined) throw new Error(`the program ended with ${child.exitCode}`)
  return name
}

for (const isRepository of [false, true])
  it(`never travels and is deleted when it is stale, ${isRepository ? 'where git keeps the folder' : 'in a plain folder'}`, async () => {
    const { near, far, sync } = await makeFolders()
    for (const folder of [near, far]) {
      mkdirSync(join(folder, 'd'))
      if (isRepository) execFileSync('git', ['init', '-q', folder])
    }
    const here = join(near, 'd', await placeAndBeKilled(join(near, 'd')))
    const upload = '.rclaude-upload-0123456789abcdef'
    const part = `.f.0123456789abcdef.rclaude-part`
    write(far, { [upload]: 'half', [part]: 'half', '.rclaude-upload-notes': 'of the user' })
    write(near, { 'd/f': 'whole' })

    await sync()
    expect(Object.keys(contents(far)).sort()).toEqual(['.rclaude-upload-notes', 'd/f', part, upload].sort())
    expect(existsSync(here)).toBe(true) // it could be under way

    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + STALE_MS + 1_000 })
    await sync()
    expect(existsSync(here)).toBe(false)
    expect(contents(near)).toEqual({ 'd/f': 'whole' })
    expect(Object.keys(contents(far)).sort()).toEqual(['.rclaude-upload-notes', 'd/f', part].sort())
  }, 60_000)
