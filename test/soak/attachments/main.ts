/**
 * npm run soak:attachments -- [--seed S] [--attachments N] [--cuts N] [--kills N] [--seconds N] [--down MS]
 *                                   [--dist DIR]
 *
 * SECONDS are of a live tunnel; --down is the longest that the gateway is away; --dist has the programs to try.
 *
 * Ends with 1 when a byte was lost or repeated or an exit code was wrong, and with 2 when all was right but echoes were
 * not back in time.
 */
import { availableParallelism, cpus, loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { MIN_ATTACHMENTS } from './fleet.ts'
import { formatReport, tooSlow } from './report.ts'
import { MAX_DOWN_MS } from './schedule.ts'
import { runStorm } from './storm.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    attachments: { type: 'string', default: '100' },
    cuts: { type: 'string', default: '50' },
    kills: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '300' },
    down: { type: 'string', default: String(MAX_DOWN_MS) },
    dist: { type: 'string' },
  },
})

const options = {
  seed: wholeNumber('seed', 0),
  attachments: wholeNumber('attachments', MIN_ATTACHMENTS),
  cuts: wholeNumber('cuts', 0),
  kills: wholeNumber('kills', 0),
  seconds: wholeNumber('seconds', 1),
  downMs: wholeNumber('down', 0),
  ...(values.dist !== undefined && { dist: values.dist }),
}
console.log(
  `${cpus()[0]?.model.trim()}, ${availableParallelism()} cores, load ${loadavg()[0]?.toFixed(1)}, Node ${process.version}`,
)
console.log(
  `again: npm run soak:attachments -- --seed ${options.seed} --attachments ${options.attachments} --cuts ${options.cuts} --kills ${options.kills} --seconds ${options.seconds} --down ${options.downMs}`,
)
try {
  const report = await runStorm({ ...options, log: (line) => console.log(line) })
  console.log(formatReport(report))
  // An attachment that did not end must not keep us.
  process.exit(report.faults.length > 0 ? 1 : tooSlow(report).length > 0 ? 2 : 0)
} catch (error) {
  console.error(error)
  process.exit(1)
}

function wholeNumber(name: Exclude<keyof typeof values, 'dist'>, least: number): number {
  const number = Number(values[name])
  if (!Number.isSafeInteger(number) || number < least)
    throw new Error(`--${name} ${values[name]}: expected a whole number, at least ${least}`)
  return number
}
