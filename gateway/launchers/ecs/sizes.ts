/** What Fargate has of sizes, and what an hour of one costs. */
import { RclaudeError } from '../../../protocol/errors.ts'
import type { EcsSection } from '../../../protocol/launcher-config.ts'
import type { Machine } from '../../../protocol/machine.ts'

const MIB = 1024 ** 2
const GIB = 1024 ** 3

/** vCPUs -> GiB of memory: the smallest, the largest, the step between. AWS's task_definition_parameters.html, "Task size". */
const FARGATE: ReadonlyMap<number, readonly [number, number, number]> = new Map([
  [0.25, [0.5, 2, 0.5]], // 1.5 GiB is in AWS's model and not in its text; it is taken
  [0.5, [1, 4, 1]],
  [1, [2, 8, 1]],
  [2, [4, 16, 1]],
  [4, [8, 30, 1]],
  [8, [16, 60, 4]],
  [16, [32, 120, 8]],
])

/** @throws RclaudeError `invalid` with the sizes that there are */
export function checkFargateSize({ cpu = 0, memoryBytes = 0 }: Machine): void {
  const range = FARGATE.get(cpu)
  if (range === undefined)
    throw new RclaudeError('invalid', `Fargate has no machine of ${cpu} vCPU: take ${[...FARGATE.keys()].join(', ')}`)
  const [from, to, step] = range
  const gib = memoryBytes / GIB
  if (gib < from || gib > to || (gib - from) % step !== 0)
    throw new RclaudeError(
      'invalid',
      `Fargate has no machine of ${cpu} vCPU with ${gib} GiB: take ${from} to ${to} GiB in steps of ${step}`,
    )
}

/** As ECS takes them: CPU units and MiB, as text. */
export const ecsSize = ({ cpu = 0, memoryBytes = 0 }: Machine): { cpu: string; memory: string } => ({
  cpu: String(Math.round(cpu * 1024)),
  memory: String(Math.round(memoryBytes / MIB)),
})

/** List prices of us-east-1 in USD, as docs/cost.md has them with their sources; other regions differ by up to a half. */
const PRICES = {
  x86_64: { vcpu: 0.04048, gib: 0.004445 },
  arm64: { vcpu: 0.03238, gib: 0.00356 },
} as const
const PUBLIC_ADDRESS = 0.005
/** A GiB of disk beyond what Fargate gives. */
const DISK_GIB = 0.000111
const FREE_DISK_GIB = 20
/** What is left on Spot of the price of CPU and memory, about: it moves. */
const SPOT_SHARE = 0.32

/** Undefined on EC2, where instances are paid for and not tasks. */
export function usdPerHour(
  { usdPerHour, capacity, architecture, assignPublicIp }: EcsSection,
  { cpu, memory, diskGib, isSpot }: { cpu: string; memory: string; diskGib: number; isSpot: boolean },
): number | undefined {
  if (usdPerHour !== undefined) return usdPerHour
  if (capacity === 'ec2') return undefined
  const { vcpu, gib } = PRICES[architecture]
  const full = (Number(cpu) / 1024) * vcpu + (Number(memory) / 1024) * gib
  const disk = Math.max(0, diskGib - FREE_DISK_GIB) * DISK_GIB
  const sum = full * (isSpot ? SPOT_SHARE : 1) + disk + (assignPublicIp ? PUBLIC_ADDRESS : 0)
  return Math.round(sum * 1e6) / 1e6
}
