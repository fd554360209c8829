/**
 * From Ctrl-C to the prompt on a slow line, for `rclaude shell` and for ssh over the same relay: a program writes 2.7 MB/s to
 * a terminal, the line carries 100 KB/s. Prints one table; a row that does not reach its number ends with MISS.
 */
import { cpus } from 'node:os'
import { performance } from 'node:perf_hooks'
import { startPty } from '../../agent/terminals/pty.ts'
import { startRclaude } from './rclaude.ts'
import { throttledRelay } from './relay.ts'
import type { Side } from './side.ts'
import { startSsh } from './ssh.ts'

const RUNS = Number(process.argv[2] ?? 5)
const LINE_BYTES_PER_SECOND = 100_000
const REACH_MS = 1_000
/** How long the program writes before Ctrl-C: all buffers on the way are full by then. */
const FILL_MS = 4_000
const GIVE_UP_MS = 120_000
const PRODUCER = `node -e 'const l=("y".repeat(78)+"\\n").repeat(342);setInterval(()=>process.stdout.write(l),10)'`

async function measure(side: Side): Promise<{ ms: number[]; bytesPerSecond: number }> {
  const child = await startPty({ argv: side.argv, cwd: '/tmp', env: side.env, size: { columns: 80, rows: 24 } })
  let seen = ''
  let bytes = 0
  child.stdout.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    seen = (seen + chunk.toString('latin1')).slice(-4_096)
  })
  const shows = async (text: string) => {
    const start = performance.now()
    while (!seen.includes(text)) {
      if (performance.now() - start > GIVE_UP_MS) throw new Error(`no ${text} within ${GIVE_UP_MS} ms: ${seen}`)
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
    return performance.now() - start
  }
  const type = (text: string) => child.stdin.write(text)
  type("PS1='PRO''MPT> '\r")
  await shows('PROMPT> ')
  const ms: number[] = []
  let rate = 0
  for (let run = 0; run < RUNS; run++) {
    type(`${PRODUCER}\r`)
    await shows('yyyy')
    const before = bytes
    await new Promise((resolve) => setTimeout(resolve, FILL_MS))
    rate += (bytes - before) / (FILL_MS / 1_000) / RUNS
    seen = ''
    type('\u0003')
    ms.push(await shows('PROMPT> '))
    seen = ''
  }
  await child.stop({ graceMs: 1_000 })
  return { ms: ms.sort((a, b) => a - b), bytesPerSecond: rate }
}

console.log(`${process.version}, ${cpus().length} x ${cpus()[0]?.model}, ${RUNS} runs, line of 100 KB/s`)
console.log('                 median ms   worst ms   KB/s before')
for (const [name, start] of Object.entries({ 'rclaude shell': startRclaude, ssh: startSsh })) {
  const side = await start((port) => throttledRelay(port, LINE_BYTES_PER_SECOND))
  if (typeof side === 'string') {
    console.log(`${name.padEnd(16)} not tried: ${side}`)
    continue
  }
  try {
    const { ms, bytesPerSecond } = await measure(side)
    const worst = ms.at(-1) ?? 0
    const missed = name === 'rclaude shell' && worst > REACH_MS ? '  MISS' : ''
    const cells = [ms[ms.length >> 1] ?? 0, worst, bytesPerSecond / 1_000].map((value) => value.toFixed(0).padStart(9))
    console.log(`${name.padEnd(16)} ${cells.join('  ')}${missed}`)
  } finally {
    await side.close()
  }
}
process.exit(0)
