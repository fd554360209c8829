/** What the bench was asked for: argv to options, with every default and bound in one place. */
import { parseArgs } from 'node:util'

export const SECTIONS = ['bytes', 'exec', 'request', 'echo', 'streams', 'tunnels', 'redial'] as const
export type Section = (typeof SECTIONS)[number]

export interface Options {
  only: readonly Section[]
  runs: number
  /** Bytes of the big file, all of which go through `exec`. */
  size: number
  /** Bytes of it that the rows of single streams take. */
  part: number
  quick: boolean
  json: boolean
  /** Where the gateways put their CPU profiles; undefined for none. */
  cpuProf: string | undefined
}

export const HELP = `Usage: npm run bench:tunnel [-- options]

  --only NAME,...  of: ${SECTIONS.join(', ')}
  --runs N         runs of each row, of which the median counts (default 5, quick 2)
  --size BYTES     what each run sends (default 1000000000 for exec, 300000000 for bytes and streams, quick 50000000)
  --quick          about a minute: fewer runs, a smaller file, at most 500 tunnels
  --json           one JSON document instead of tables
  --cpu-prof DIR   the gateways write CPU profiles into DIR
`

const MAX_RUNS = 100
const QUICK_SIZE = 50_000_000
const MIN_SIZE = 1_000_000
const MAX_SIZE = 20_000_000_000

/** @returns undefined when help was asked for. @throws Error that says which option is wrong */
export function readOptions(argv: string[]): Options | undefined {
  const { values } = parseArgs({
    args: argv,
    options: {
      only: { type: 'string' },
      runs: { type: 'string' },
      size: { type: 'string' },
      quick: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      'cpu-prof': { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  if (values.help) return undefined
  const { quick } = values
  const sizeOf = (fallback: number): number =>
    numberOf('--size', values.size, quick ? QUICK_SIZE : fallback, MIN_SIZE, MAX_SIZE)
  return {
    only: values.only === undefined ? SECTIONS : values.only.split(',').map(sectionOf),
    runs: numberOf('--runs', values.runs, quick ? 2 : 5, 1, MAX_RUNS),
    size: sizeOf(1_000_000_000),
    part: sizeOf(300_000_000),
    quick,
    json: values.json,
    cpuProf: values['cpu-prof'],
  }
}

function sectionOf(name: string): Section {
  const found = SECTIONS.find((section) => section === name)
  if (found === undefined) throw new Error(`--only ${name}: there is no such part, only ${SECTIONS.join(', ')}`)
  return found
}

function numberOf(name: string, text: string | undefined, fallback: number, min: number, max: number): number {
  if (text === undefined) return fallback
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < min || value > max)
    throw new Error(`${name} ${text}: expected a whole number from ${min} to ${max}`)
  return value
}
