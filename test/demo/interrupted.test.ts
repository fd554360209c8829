/** The built demo, told to end in the middle: nothing stays behind. */
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { eventually } from '../helpers/eventually.ts'
import { temporaryDirectory } from '../helpers/temporary.ts'

test.each([
  ['SIGTERM', 143],
  ['SIGINT', 130],
] as const)('%s in the middle ends gateway, task and demo, and removes the folder', async (signal, code) => {
  const directory = temporaryDirectory()
  const demo = spawn(process.execPath, [resolve('dist/demo.js')], {
    env: { PATH: process.env.PATH, HOME: directory, TMPDIR: directory },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let said = ''
  for (const stream of [demo.stdout, demo.stderr]) stream.setEncoding('utf8').on('data', (text) => (said += text))
  const exited = new Promise<number | null>((done) => demo.once('close', done))
  onTestFinished(() => {
    for (const pid of processesOf(directory)) process.kill(pid, 'SIGKILL')
  })
  await eventually('the agent of the task runs', () =>
    commandsOf(directory).some((command) => /agent\.js/.test(command)),
  )
  demo.kill(signal)
  expect(await exited).toBe(code)
  expect(said).toContain(`interrupted by ${signal}`)
  expect(commandsOf(directory)).toEqual([])
  expect(readdirSync(directory)).toEqual([])
})

/** What has the folder in its environment. */
function processesOf(directory: string): number[] {
  const pids = readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))
  return pids.filter((pid) => readQuietly(`/proc/${pid}/environ`).includes(directory)).map(Number)
}

const commandsOf = (directory: string): string[] =>
  processesOf(directory).map((pid) => readQuietly(`/proc/${pid}/cmdline`).replaceAll('\0', ' '))

function readQuietly(file: string): string {
  try {
    return readFileSync(file, 'latin1')
  } catch {
    return ''
  }
}
