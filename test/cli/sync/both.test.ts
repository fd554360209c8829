import { chmodSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { didNothing } from '../../../cli/sync/tally.ts'
import { contents, makeFolders, write } from './folders.ts'

it('carries what is new on each side to the other, and then has nothing to do', async () => {
  const { near, far, sync, between } = await makeFolders()
  write(near, { a: 'a', 'deep/down/b': 'b', 'bin/run': '#!/bin/sh\n', big: 'x'.repeat(2_000_000) })
  chmodSync(join(near, 'bin/run'), 0o755)
  symlinkSync('down/b', join(near, 'deep/link'))
  write(far, { c: 'c', 'deep/d': 'd', large: 'y'.repeat(2_000_000) })
  const first = await sync()
  expect(first).toMatchObject({ sent: { files: 5 }, received: { files: 3 }, conflicts: [], again: [], same: 8 })
  expect(contents(near)).toEqual(contents(far))
  expect(statSync(join(far, 'bin/run')).mode & 0o777).toBe(0o755)
  expect(Math.abs(statSync(join(far, 'a')).mtimeMs - statSync(join(near, 'a')).mtimeMs)).toBeLessThan(1)
  const paths: string[] = []
  const { ask } = between
  between.ask = (route, ...rest) => {
    paths.push(route.name)
    return ask(route, ...rest)
  }
  const second = await sync()
  expect([didNothing(second), paths]).toEqual([true, ['syncManifest']])
})

it('sends only what changed, also when it is as long as before', async () => {
  const { near, far, sync, done } = await makeFolders()
  write(near, { a: 'one', b: 'two', c: 'six' })
  await sync()
  done.length = 0
  write(near, { a: 'ONE' })
  write(far, { b: 'TWO' })
  chmodSync(join(near, 'c'), 0o700)
  await sync()
  expect(done.sort()).toEqual(['mode set there c', 'received b', 'sent a'])
  expect(statSync(join(far, 'c')).mode & 0o777).toBe(0o700)
  expect(contents(near)).toEqual({ a: 'ONE', b: 'TWO', c: 'six' })
  expect(contents(far)).toEqual(contents(near))
})

it('leaves what changed on both sides as it is, and says so each time', async () => {
  const { near, far, sync } = await makeFolders()
  write(near, { f: 'base', same: 'base' })
  await sync()
  write(near, { f: 'mine', same: 'alike', new: 'here' })
  write(far, { f: 'theirs', same: 'alike', new: 'there' })
  for (let time = 0; time < 2; time++) {
    const { conflicts } = await sync()
    expect(conflicts.map(({ path }) => path)).toEqual(['f', 'new'])
  }
  expect(contents(near)).toEqual({ f: 'mine', same: 'alike', new: 'here' })
  expect(contents(far)).toEqual({ f: 'theirs', same: 'alike', new: 'there' })
})

it('keeps what loses a conflict beside, where only its user sees it', async () => {
  for (const prefer of ['local', 'remote'] as const) {
    const { near, far, sync } = await makeFolders()
    write(near, { f: 'base' })
    await sync()
    write(near, { f: 'mine' })
    write(far, { f: 'theirs' })
    const { conflicts } = await sync({ prefer })
    const [kept, copy] =
      prefer === 'local'
        ? ['mine', 'f.conflict-remote-20260102T030405']
        : ['theirs', 'f.conflict-local-20260102T030405']
    expect(conflicts).toMatchObject([{ path: 'f', copy }])
    expect(contents(near)).toEqual({ f: kept, [copy]: prefer === 'local' ? 'theirs' : 'mine' })
    expect(contents(far)).toEqual({ f: kept })
    expect(didNothing(await sync())).toBe(true)
    write(near, { f: 'mine 2' })
    write(far, { f: 'theirs 2' })
    await sync({ prefer })
    expect(Object.keys(contents(near))).toContain(`${copy}-2`)
  }
})

it('carries out deletes only when that is asked for; a change wins over a delete', async () => {
  const { near, far, sync } = await makeFolders()
  write(near, { a: 'a', b: 'b', 'd/c': 'c', 'd/e': 'e', kept: 'k' })
  await sync()
  rmSync(join(near, 'a'))
  rmSync(join(far, 'b'))
  rmSync(join(near, 'd'), { recursive: true })
  write(far, { 'd/e': 'changed' })
  const without = await sync()
  expect(without.left).toEqual([
    { path: 'a', why: 'deleted-here' },
    { path: 'b', why: 'deleted-there' },
    { path: 'd/c', why: 'deleted-here' },
  ])
  expect(contents(near)).toEqual({ b: 'b', 'd/e': 'changed', kept: 'k' })
  const asked = await sync({ delete: true })
  expect(asked.deleted).toEqual({ here: 1, there: 2 })
  expect(contents(near)).toEqual({ 'd/e': 'changed', kept: 'k' })
  expect(contents(far)).toEqual(contents(near))
  rmSync(join(near, 'd'), { recursive: true })
  await sync({ delete: true })
  expect(readdirSync(far)).toEqual(['kept'])
})

it('with --delete never deletes what is only ignored by now, nor what takes no part', async () => {
  const { near, far, sync } = await makeFolders()
  write(near, { 'build/out': 'o', f: 'f', 'x.tmp': 'x' })
  await sync()
  write(near, { '.gitignore': 'build/\n' })
  await sync({ delete: true })
  expect(contents(far)).toEqual({ '.gitignore': 'build/\n', 'build/out': 'o', f: 'f', 'x.tmp': 'x' })
  expect(contents(near)).toEqual(contents(far))
  rmSync(join(near, 'x.tmp'))
  await sync({ delete: true }, { selection: { ignore: true, exclude: ['*.tmp'], include: [] } })
  expect(Object.keys(contents(far))).toContain('x.tmp')
  await sync({ delete: true })
  expect(Object.keys(contents(far))).not.toContain('x.tmp')
})

it('does not empty a side because the other one is empty', async () => {
  const { near, far, sync } = await makeFolders()
  write(near, { a: 'a', b: 'b' })
  await sync()
  const aside = `${near}-aside`
  renameSync(near, aside)
  await expect(sync({ delete: true })).rejects.toThrow(/there is no folder/)
  mkdirSync(near)
  for (const direction of ['both', 'to'] as const)
    await expect(sync({ delete: true, direction })).rejects.toThrow(
      /--delete would empty the folder of the task. Say --force/,
    )
  expect(contents(far)).toEqual({ a: 'a', b: 'b' })
  rmSync(near, { recursive: true })
  renameSync(aside, near)
  rmSync(join(far, 'a'))
  rmSync(join(far, 'b'))
  await expect(sync({ delete: true })).rejects.toThrow(/holds no files/)
  await expect(sync({ delete: true, direction: 'from' })).rejects.toThrow(/holds no files/)
  expect((await sync({ delete: true }, { force: true })).deleted).toEqual({ here: 2, there: 0 })
  expect(contents(near)).toEqual({})
})

it('carries nothing into the direction that was not asked for', async () => {
  const { near, far, sync } = await makeFolders()
  write(near, { mine: 'm', both: 'b' })
  write(far, { theirs: 't', both: 'b' })
  await sync({ direction: 'to' })
  expect([contents(near), contents(far)]).toEqual([
    { mine: 'm', both: 'b' },
    { mine: 'm', theirs: 't', both: 'b' },
  ])
  write(far, { both: 'B' })
  const left = await sync({ direction: 'to' })
  expect(left.left.map(({ path }) => path)).toEqual(['both', 'theirs'])
  write(near, { more: 'x' })
  await sync({ direction: 'from' })
  expect(contents(near)).toEqual({ mine: 'm', theirs: 't', both: 'B', more: 'x' })
  // Mirrors.
  await sync({ direction: 'from', delete: true })
  expect(contents(near)).toEqual(contents(far))
  rmSync(join(near, 'mine'))
  await sync({ direction: 'to', delete: true })
  expect(contents(far)).toEqual({ theirs: 't', both: 'B' })
})

it('turns files into folders and back', async () => {
  const { near, far, sync } = await makeFolders()
  write(near, { a: 'file', 'b/x': 'in folder' })
  await sync()
  rmSync(join(near, 'a'))
  rmSync(join(near, 'b'), { recursive: true })
  write(near, { 'a/x': 'now a folder', b: 'now a file' })
  const without = await sync()
  expect(without.conflicts.map(({ path }) => path).sort()).toEqual(['a/x', 'b'])
  expect(contents(far)).toEqual({ a: 'file', 'b/x': 'in folder' })
  await sync({ delete: true })
  expect(contents(far)).toEqual({ 'a/x': 'now a folder', b: 'now a file' })
  rmSync(join(far, 'b'))
  rmSync(join(far, 'a'), { recursive: true })
  write(far, { a: 'back', 'b/x': 'back too' })
  await sync({ delete: true })
  expect(contents(near)).toEqual({ a: 'back', 'b/x': 'back too' })
})

it('says what it would do, and does nothing', async () => {
  const { near, far, sync, done } = await makeFolders()
  write(near, { a: 'a' })
  write(far, { b: 'b' })
  const would = await sync({}, { dryRun: true })
  expect(would).toMatchObject({ sent: { files: 1, bytes: 1 }, received: { files: 1, bytes: 1 } })
  expect(done).toEqual(['would send a', 'would receive b'])
  expect([contents(near), contents(far)]).toEqual([{ a: 'a' }, { b: 'b' }])
})

it('syncs a folder of the workspace, and makes it', async () => {
  const { near, far, options, sync } = await makeFolders()
  write(near, { f: 'f' })
  write(far, { outside: 'o' })
  await sync({}, { far: { ...options.far, folder: 'new/place' } })
  expect(contents(far)).toEqual({ 'new/place/f': 'f', outside: 'o' })
  expect(contents(near)).toEqual({ f: 'f' })
  await expect(sync({ direction: 'from' }, { far: { ...options.far, folder: 'none' } })).rejects.toThrow(
    /there is no folder "none"/,
  )
})

it('sends a file that is replaced all the time whole or not at all', async () => {
  const { near, far, sync } = await makeFolders()
  let isOver = false
  const path = join(near, 'log')
  const version = (n: number) => `${n}`.repeat(700_000)
  writeFileSync(path, version(1))
  const writing = (async () => {
    for (let n = 1; !isOver; n = (n % 9) + 1) {
      writeFileSync(path, version(n))
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
  })()
  for (let time = 0; time < 5; time++) {
    await sync({ direction: 'to' })
    const arrived = contents(far).log
    if (arrived !== undefined) expect(new Set(arrived).size).toBe(1)
  }
  isOver = true
  await writing
  await sync({ direction: 'to' })
  expect(contents(far)).toEqual(contents(near))
  expect(readdirSync(far)).toEqual(['log'])
})

it('gives nobody more rights here than the user does, and takes that for no change', async () => {
  const { near, far, sync } = await makeFolders()
  write(far, { open: 'o', known: 'k' })
  write(near, { known: 'k' })
  for (const name of ['open', 'known']) chmodSync(join(far, name), 0o777)
  await sync({ direction: 'from' })
  expect(['open', 'known'].map((name) => statSync(join(near, name)).mode & 0o777)).toEqual([0o755, 0o755])
  expect(didNothing(await sync())).toBe(true)
  expect(statSync(join(far, 'open')).mode & 0o777).toBe(0o777)
})
