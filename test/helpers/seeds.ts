/** The options of a program that makes seeded runs: `--seed S` for one, `[--runs N] [--from F]` for many. */
import { parseArgs } from 'node:util'

export interface Seeds {
  /** The one to look at closely. */
  seed: number | undefined
  from: number
  runs: number
}

/** Undefined when only `help` was asked for, which is printed. @throws for what is no whole number */
export function readSeeds(args: string[], help: string): Seeds | undefined {
  if (args.includes('--help')) {
    process.stdout.write(help)
    return undefined
  }
  const { values } = parseArgs({
    args,
    options: {
      seed: { type: 'string' },
      runs: { type: 'string', default: '1000' },
      from: { type: 'string', default: '1' },
    },
  })
  const { seed, runs, from } = values
  return {
    seed: seed === undefined ? undefined : whole('seed', seed),
    from: whole('from', from),
    runs: whole('runs', runs),
  }
}

function whole(name: string, value: string): number {
  if (/^\d{1,15}$/.test(value)) return Number(value)
  throw new Error(`--${name} must be a whole number, not ${value}`)
}
