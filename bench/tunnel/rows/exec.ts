/** Standard output of a command at the far end, from the start of the client to its last byte, into `wc -c` for all. */
import { spawn } from 'node:child_process'
import { join, resolve } from 'node:path'
import { performance } from 'node:perf_hooks'
import { HOW_TO_INSTALL } from '../peers/ssh.ts'
import type { Stage } from '../stage.ts'
import { type Case, interleave, median } from '../stats.ts'
import { atLeast, fixed, type Row, ratio, type Table } from '../table.ts'

/** A GB takes its time. */
const MAX_RUNS = 3
const SSH = 'ssh host cat'
const SSH_GCM = `${SSH} -c aes128-gcm`
const CAT = 'cat | wc -c, no network'
const PLAIN = 'rclaude exec over ws'
const SECURE = 'rclaude exec over wss'

export async function exec(stage: Stage): Promise<Table> {
  const { size } = stage.options
  const runs = Math.min(MAX_RUNS, stage.options.runs)
  const file = stage.file()
  const notes = ['the whole command is timed, from its start: ssh has its handshake in it, rclaude the start of Node']
  const one = (name: string, argv: string[], env?: Record<string, string>): Case<number> => ({
    name,
    run: async () => size / 1000 / (await timeToWc(stage, argv, size, env)),
  })
  const cases = [one(CAT, ['cat', file])]
  const ssh = await stage.ssh()
  if (ssh === undefined) notes.push(HOW_TO_INSTALL)
  else
    cases.push(one(SSH, ssh.command(['cat', file])), one(SSH_GCM, ssh.command(['cat', file], 'aes128-gcm@openssh.com')))
  for (const [name, ready] of [
    [PLAIN, await stage.plain()],
    [SECURE, await stage.secure()],
  ] as const) {
    if (ready === undefined) continue
    const { gateway, taskId } = ready
    const login = { RCLAUDE_GATEWAY: gateway.url, RCLAUDE_TOKEN: gateway.token }
    cases.push(one(name, [process.execPath, resolve('dist/rclaude.js'), 'exec', taskId, '--', 'cat', 'big'], login))
  }
  const samples = await interleave(cases, runs, stage.signal)
  const mbps = (name: string): number => median(samples.get(name) ?? [])
  return {
    name: 'exec',
    title: `STDOUT of a command that prints ${size / 1e6} MB, median of ${runs} runs`,
    columns: ['row', 'MB/s', 's', `/ ${SSH}`, '/ with aes128-gcm'],
    rows: cases.map(({ name }): Row => {
      const rate = mbps(name)
      const isOurs = name === PLAIN || name === SECURE
      return {
        cells: [name, fixed(rate, 0), fixed(size / 1e6 / rate), ratio(rate, mbps(SSH)), ratio(rate, mbps(SSH_GCM))],
        reach: isOurs && ssh !== undefined ? [atLeast(rate / mbps(SSH), 1.2, ` x ${SSH}`)] : [],
        values: { mbps: rate },
      }
    }),
    notes,
  }
}

/** In ms. @throws Error unless all bytes came */
function timeToWc(stage: Stage, argv: string[], bytes: number, env: Record<string, string> = {}): Promise<number> {
  const start = performance.now()
  const home = join(stage.children.directory, 'home')
  const shell = spawn('sh', ['-c', '"$@" | wc -c', 'sh', ...argv], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env.PATH, HOME: home, ...env },
  })
  const said = { out: '', err: '' }
  shell.stdout.on('data', (chunk: Buffer) => {
    said.out += chunk
  })
  shell.stderr.on('data', (chunk: Buffer) => {
    said.err += chunk
  })
  return new Promise((done, reject) =>
    shell.once('close', () => {
      if (Number(said.out) === bytes) done(performance.now() - start)
      else reject(new Error(`${argv.join(' ')} printed ${said.out.trim()} bytes instead of ${bytes}: ${said.err}`))
    }),
  )
}
