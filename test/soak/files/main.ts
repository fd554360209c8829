/**
 * npm run soak:files -- [--size BYTES]     10GiB unless told; twice as much is needed on the disk of TMPDIR, once more on the agent's
 *
 * Ends with 1 when something did not arrive as it was sent, or a program needed more than MAX_BYTES of memory.
 */
import { parseArgs } from 'node:util'
import { formatBytes, Size } from '../../../protocol/units.ts'
import { soakFiles } from './run.ts'

/** Of each program, whatever the size of the file. */
const MAX_BYTES = 400 * 1024 ** 2

const { values } = parseArgs({ options: { size: { type: 'string', default: '10GiB' } } })
const size = Size.parse(values.size)
const { faults, steps } = await soakFiles(size, (line) => console.log(line))
console.log(`\n${formatBytes(size)}; most memory of each program, in MiB`)
console.log(`${'step'.padEnd(26)}${['seconds', 'gateway', 'agent', 'client'].map((name) => name.padStart(9)).join('')}`)
for (const { step, seconds, ...memory } of steps) {
  const cells = [memory.gateway, memory.agent, memory.client].map((bytes) => (bytes / 1024 ** 2).toFixed(0).padStart(9))
  console.log(`${step.padEnd(26)}${seconds.toFixed(1).padStart(9)}${cells.join('')}`)
  for (const [program, bytes] of Object.entries(memory))
    if (bytes > MAX_BYTES) faults.push(`${step}: the ${program} took ${formatBytes(bytes)}`)
}
for (const fault of faults) console.log(`FAULT ${fault}`)
process.exit(faults.length > 0 ? 1 : 0)
