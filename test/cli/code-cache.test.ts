import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, expect, test } from 'vitest'
import { loadProgram } from '../../cli/code-cache.ts'
import { temporaryDirectory } from '../helpers/temporary.ts'
import { bundleCli, runCli } from './support/bundle.ts'

let folder: string
let directory: string
let program: string
const script = (answer: number) =>
  `(function (exports, require, module) { module.exports = { answer: () => ${answer}, os: require('node:os').EOL } })`
beforeEach(() => {
  folder = temporaryDirectory()
  directory = join(folder, 'cache', 'rclaude')
  program = join(folder, 'program.cjs')
  writeFileSync(program, script(11))
})

const run = (command: string): number => {
  const { exports, keep } = loadProgram(program, directory)
  const answer = (exports as { answer(): number }).answer()
  keep(command)
  return answer
}
const files = () => readdirSync(directory).map((name) => join(directory, name))
const only = () => {
  const [file, ...others] = files()
  if (file === undefined || others.length > 0) throw new Error(`not one file: ${files()}`)
  return file
}
const commandsIn = (file: string) => /"commands":(\[.*\])\}/.exec(readFileSync(file, 'latin1'))?.[1]

test('it is written once for each command, for its user alone', () => {
  expect(run('exec')).toBe(11)
  const { ino, mode } = statSync(only())
  expect([mode & 0o777, statSync(directory).mode & 0o777]).toEqual([0o600, 0o700])
  expect(run('exec')).toBe(11)
  expect(statSync(only()).ino).toBe(ino)
  expect(run('ps')).toBe(11)
  expect(commandsIn(only())).toBe('["exec","ps"]')
})

test('another program of the same length has a cache of its own', () => {
  run('exec')
  writeFileSync(program, script(22))
  expect(run('exec')).toBe(22)
  expect(files().length).toBe(2)
  writeFileSync(program, script(11))
  expect(run('exec')).toBe(11)
})

test('a file that is damaged anywhere, cut or empty is not run, and is replaced', () => {
  run('exec')
  run('ps')
  const whole = readFileSync(only())
  const damaged = [Buffer.alloc(0), Buffer.from('x'), whole.subarray(0, whole.length >> 1), whole.subarray(1)]
  for (let at = 0; at < whole.length; at += 7) {
    const bytes = Buffer.from(whole)
    bytes[at] = (bytes[at] ?? 0) ^ 0x55
    damaged.push(bytes)
  }
  for (const bytes of damaged) {
    writeFileSync(only(), bytes)
    expect(run('show')).toBe(11)
    expect(['["show"]', '["exec","ps","show"]']).toContain(commandsIn(only()))
  }
})

test('a file that others may write is not run', () => {
  run('exec')
  chmodSync(only(), 0o622)
  run('ps')
  expect(commandsIn(only())).toBe('["ps"]')
})

test('where nothing can be kept the program runs all the same', () => {
  mkdirSync(join(folder, 'cache'))
  writeFileSync(directory, 'in the way')
  expect(run('exec')).toBe(11)
  expect(readFileSync(directory, 'utf8')).toBe('in the way')
})

test('what was written a month ago goes when another is written, and nothing but that', () => {
  run('exec')
  const old = only()
  const foreign = join(directory, 'notes')
  writeFileSync(foreign, 'kept')
  const before = new Date(Date.now() - 31 * 24 * 3_600_000)
  for (const file of [old, foreign]) utimesSync(file, before, before)
  writeFileSync(program, script(22))
  run('exec')
  expect(files()).not.toContain(old)
  expect(files()).toContain(foreign)
})

test('the CLI keeps one in the user’s cache folder, of commands that succeeded, and says the same with it', async () => {
  const bundle = await bundleCli()
  const kept = join(folder, '.cache', 'rclaude')
  const rclaude = (...args: string[]) => runCli(bundle, folder, args)
  const failed = await rclaude('ps')
  expect(readdirSync(folder)).not.toContain('.cache')
  const first = await rclaude('exec', '--help')
  expect(readdirSync(kept).length).toBe(1)
  expect(await rclaude('exec', '--help')).toEqual(first)
  expect(await rclaude('ps')).toEqual(failed)
})
