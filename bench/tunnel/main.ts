/** The tunnel's bench: one run, one table after another, ratios side by side; Linux only (it looks into /proc). */
import { Children } from './children.ts'
import { machineLine } from './machine.ts'
import { HELP, type Options, readOptions, type Section } from './options.ts'
import { echo } from './rows/echo.ts'
import { exec } from './rows/exec.ts'
import { tunnels } from './rows/memory.ts'
import { redial } from './rows/redial.ts'
import { smallRequest } from './rows/request.ts'
import { streams } from './rows/scaling.ts'
import { throughput } from './rows/throughput.ts'
import { Stage } from './stage.ts'
import { missesIn, printTable, type Table } from './table.ts'

/** The whole takes under 15 minutes; a bench that hangs ends itself. */
const MAX_MINUTES = 30

const sections: Record<Section, (stage: Stage) => Promise<Table>> = {
  bytes: throughput,
  exec,
  request: smallRequest,
  echo,
  streams,
  tunnels,
  redial,
}

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2))
  if (options === undefined) return void process.stdout.write(HELP)
  const stopping = new AbortController()
  const children = new Children()
  const isStopped = new Promise<never>((_, reject) =>
    stopping.signal.addEventListener('abort', () => reject(stopping.signal.reason)),
  )
  isStopped.catch(() => {})
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => stopping.abort(new Error(`stopped by ${signal}`)))
  const timer = setTimeout(
    () => stopping.abort(new Error(`not done after ${MAX_MINUTES} minutes`)),
    MAX_MINUTES * 60_000,
  )
  try {
    await Promise.race([measure(options, children, stopping.signal), isStopped])
  } finally {
    clearTimeout(timer)
    await children.close()
  }
}

async function measure(options: Options, children: Children, signal: AbortSignal): Promise<void> {
  const startedAt = Date.now()
  const log = (line: string): void => void process.stderr.write(`${line}\n`)
  const stage = new Stage(children, options, signal, log)
  const machine = machineLine()
  if (!options.json) console.log(machine)
  const tables: Table[] = []
  for (const name of options.only) {
    signal.throwIfAborted()
    const table = await sections[name](stage).catch((error: unknown) => failed(name, error, signal))
    tables.push(table)
    if (!options.json) console.log(`\n${printTable(table)}`)
  }
  const misses = missesIn(tables)
  const seconds = Math.round((Date.now() - startedAt) / 1000)
  if (options.json) console.log(JSON.stringify({ machine, seconds, misses, tables }, undefined, 2))
  else console.log(`\n${misses.length} missed in ${seconds} s${misses.map((miss) => `\n  ${miss}`).join('')}`)
}

/** A part that fails does not take the others with it. */
function failed(name: Section, error: unknown, signal: AbortSignal): Table {
  if (signal.aborted) throw error
  const words = `a measurement: ${error instanceof Error ? error.message : error}`
  const row = { cells: ['failed'], reach: [{ words, isReached: false }] }
  return { name, title: name.toUpperCase(), columns: ['row'], rows: [row], notes: [] }
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    process.stderr.write(`bench:tunnel: ${error instanceof Error ? error.message : String(error)}\n`)
    process.exit(1)
  },
)
