/**
 * How long `rclaude --version` takes beside Node's own start, in one run, alternating. Prints one table; a row that does
 * not reach its number ends with MISS.
 */
import { spawnSync } from 'node:child_process'
import { cpus } from 'node:os'
import { performance } from 'node:perf_hooks'

const RUNS = Number(process.argv[2] ?? 30)
const REACH_MS = 40
const cases = {
  'node -e 0': ['-e', '0'],
  'rclaude --version': ['dist/rclaude.js', '--version'],
  'rclaude --help': ['dist/rclaude.js', '--help'],
}

const times = Object.fromEntries(Object.keys(cases).map((name) => [name, []]))
for (let run = 0; run < RUNS; run++) {
  for (const [name, args] of Object.entries(cases)) {
    const start = performance.now()
    const { status } = spawnSync(process.execPath, args, { stdio: 'ignore' })
    if (status !== 0) throw new Error(`${name} exited with ${status}`)
    times[name].push(performance.now() - start)
  }
}

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1]
const base = median(times['node -e 0'])
console.log(`${process.version}, ${cpus().length} x ${cpus()[0]?.model}, median of ${RUNS} runs`)
console.log('program               ms     over node')
for (const [name, values] of Object.entries(times)) {
  const over = median(values) - base
  const missed = name === 'rclaude --version' && over > REACH_MS
  console.log(
    `${name.padEnd(20)} ${median(values).toFixed(0).padStart(4)}   ${over.toFixed(0).padStart(6)} ms${missed ? '  MISS' : ''}`,
  )
}
