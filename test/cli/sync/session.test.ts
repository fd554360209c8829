import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { lockPair } from '../../../cli/sync/lock.ts'
import { openSession, type SessionOptions } from '../../../cli/sync/session.ts'
import { didNothing, type Tally } from '../../../cli/sync/tally.ts'
import { keepInSync } from '../../../cli/sync/watch.ts'
import type { World } from '../../../cli/world.ts'
import { startTimeOf } from '../../../host/processes.ts'
import { BlockWriter } from '../../../host/tree/frames.ts'
import { RclaudeError } from '../../../protocol/errors.ts'
import { eventually } from '../../helpers/eventually.ts'
import { temporaryDirectory } from '../../helpers/temporary.ts'
import { contents, type Folders, makeFolders, write } from './folders.ts'

const worldAt = (home: string) => ({ env: {}, home, platform: 'linux' }) as World
const QUICK = { minMs: 1, maxMs: 5, giveUpMs: 200 }

function open(home: string, folders: Folders, more: Partial<SessionOptions> = {}) {
  const pair = { gateway: 'http://gateway', taskId: 'task_test', folder: '', directory: folders.near }
  return openSession(worldAt(home), pair, { ...folders.options, policy: QUICK, onLoss: () => {}, ...more })
}

/** The first request of each kind breaks, an upload in the middle of what it sends. */
function breakFirst({ between }: Folders): Set<string> {
  const { ask } = between
  const broken = new Set<string>()
  between.ask = async (route, body, signal) => {
    if (broken.has(route.name)) return ask(route, body, signal)
    broken.add(route.name)
    if (typeof body.content === 'string') throw new RclaudeError('unavailable', 'broken by the test')
    return ask(route, { ...body, content: halfOf(body.content) }, signal)
  }
  return broken
}

const halfOf = (content: (out: BlockWriter) => Promise<void>) => async (out: BlockWriter) => {
  const half = new BlockWriter(async (block) => {
    out.write(block.subarray(0, block.length / 2))
    await out.end()
    throw new Error('the line is cut')
  })
  await content(half)
  await half.end()
}

it('remembers from one program to the next what both folders held', async () => {
  const home = temporaryDirectory()
  const folders = await makeFolders()
  write(folders.near, { f: 'base', 'ünï/\u00ff': 'odd' })
  {
    await using session = await open(home, folders)
    await session.sync()
  }
  write(folders.near, { f: 'mine' })
  {
    await using session = await open(home, folders)
    expect((await session.sync()).sent.files).toBe(1)
  }
  write(folders.far, { f: 'theirs' })
  await using session = await open(home, folders)
  expect((await session.sync()).received.files).toBe(1)
  expect(contents(folders.near)).toEqual({ f: 'theirs', 'ünï/\u00ff': 'odd' })
  const [file = ''] = readdirSync(join(home, '.local/state/rclaude/sync')).filter((name) => name.endsWith('.memory'))
  expect(readFileSync(join(home, '.local/state/rclaude/sync', file), 'utf8')).not.toContain('theirs')
})

it('without its memory, or with half of it, takes what differs for a conflict and loses nothing', async () => {
  for (const damage of [
    rmSync,
    (file: string) => truncateSync(file, 100),
    (file: string) => writeFileSync(file, 'x\n[]'),
  ]) {
    const home = temporaryDirectory()
    const folders = await makeFolders()
    write(folders.near, { same: 's', f: 'base' })
    await (await open(home, folders)).sync()
    const state = join(home, '.local/state/rclaude/sync')
    for (const name of readdirSync(state)) {
      if (name.endsWith('.memory')) damage(join(state, name))
      else rmSync(join(state, name))
    }
    write(folders.near, { f: 'mine' })
    await using session = await open(home, folders)
    const tally = await session.sync()
    expect([tally.conflicts.map(({ path }) => path), tally.same]).toEqual([['f'], 1])
  }
})

it('is alone with its pair, and takes over from one that was killed', async () => {
  const home = temporaryDirectory()
  const folders = await makeFolders()
  {
    await using first = await open(home, folders)
    await expect(open(home, folders)).rejects.toThrow(/another rclaude sync of this folder is running \(process \d+\)/)
    await first.sync()
  }
  const child = spawn('sleep', ['100'])
  const lock = join(home, 'lock')
  writeFileSync(lock, JSON.stringify({ pid: child.pid, started: await startTimeOf(child.pid ?? 0) }))
  await expect(lockPair(lock)).rejects.toThrow(`process ${child.pid}`)
  child.kill('SIGKILL')
  await once(child, 'exit')
  const taken = await Promise.allSettled(Array.from({ length: 8 }, () => lockPair(lock)))
  expect(taken.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  for (const one of taken) if (one.status === 'fulfilled') await one.value[Symbol.asyncDispose]()
  for (const text of ['', 'nonsense', '{}']) {
    writeFileSync(lock, text)
    await (await lockPair(lock))[Symbol.asyncDispose]()
  }
  expect(readdirSync(home).filter((name) => name.startsWith('lock'))).toEqual([])
})

it('goes on where it was after a lost connection, and gives up in the end', async () => {
  const home = temporaryDirectory()
  const folders = await makeFolders()
  write(folders.near, Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`f${i}`, `${i}`])))
  write(folders.far, { there: 't' })
  const broken = breakFirst(folders)
  const losses: string[] = []
  {
    await using session = await open(home, folders, { onLoss: ({ message }) => losses.push(message) })
    await session.sync()
    expect(contents(folders.far)).toEqual(contents(folders.near))
    expect([losses.length, broken.size]).toEqual([3, 3])
  }
  folders.between.ask = () => Promise.reject(new RclaudeError('unavailable', 'gone for good'))
  await using session = await open(home, folders)
  await expect(session.sync()).rejects.toThrow('gone for good')
})

it('does not take a fault of its own disk for one of the connection', async (test) => {
  if (process.getuid?.() === 0) return test.skip('root may read everything')
  const home = temporaryDirectory()
  const folders = await makeFolders()
  write(folders.near, { a: 'a', b: 'b' })
  chmodSync(join(folders.near, 'a'), 0)
  await using session = await open(home, folders)
  const tally = await session.sync()
  expect(tally.failed.map(({ path }) => path)).toEqual(['a'])
  expect(contents(folders.far)).toEqual({ b: 'b' })
})

it('watches both sides, over a lost connection, until it is told to end', async () => {
  const home = temporaryDirectory()
  const folders = await makeFolders()
  const ending = new AbortController()
  const far = { ...folders.options.far, signal: ending.signal }
  write(folders.near, { a: '1' })
  const passes: Tally[] = []
  const losses: string[] = []
  const policy = { ...QUICK, giveUpMs: Number.POSITIVE_INFINITY }
  const session = await open(home, folders, { far, policy, onLoss: ({ message }) => losses.push(message) })
  const watching = keepInSync(session, {
    ...folders.options,
    far,
    onPass: async (tally) => void passes.push(tally),
    onStatus: () => {},
  })
  const both = (files: Record<string, string>) =>
    eventually(`both hold ${JSON.stringify(files)}`, () =>
      [folders.near, folders.far].every((root) => JSON.stringify(contents(root)) === JSON.stringify(files)),
    )
  await both({ a: '1' })
  write(folders.near, { a: '2' })
  await both({ a: '2' })
  write(folders.far, { a: '3' })
  await both({ a: '3' })
  mkdirSync(join(folders.near, 'new'))
  write(folders.near, { 'new/b': 'b' })
  await both({ a: '3', 'new/b': 'b' })
  const { ask } = folders.between
  folders.between.ask = () => Promise.reject(new RclaudeError('unavailable', 'away'))
  write(folders.near, { a: '4' })
  await eventually('the loss was seen', () => losses.length > 0)
  write(folders.far, { c: 'c' })
  folders.between.ask = ask
  await both({ a: '4', c: 'c', 'new/b': 'b' })
  ending.abort()
  await watching
  await session[Symbol.asyncDispose]()
  expect(passes.every((tally) => tally.conflicts.length === 0)).toBe(true)
  expect(passes.some((tally) => !didNothing(tally))).toBe(true)
})
