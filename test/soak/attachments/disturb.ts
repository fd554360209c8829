/** Carries a plan out: breaks the tunnel, kills the gateway, and notes when each was over. */
import { setTimeout as pause } from 'node:timers/promises'
import type { World } from '../../helpers/world.ts'
import type { Relay } from './relay.ts'
import { describe, type Planned } from './schedule.ts'

export interface Happened {
  planned: Planned
  /** When it began, and when mending could begin: the cut, the end of the silence, the gateway listening again. */
  beganAtMs: number
  overAtMs: number
  /** From then to the gateway's first answer to the agent that dialled again. */
  tunnelMs: number
}

/** The agent waits up to 10 s between dials, and so may its handshake. */
const RECONNECT_DEADLINE_MS = 40_000

interface Stage {
  world: World
  relay: Relay
  /** Starts some processes; does not wait for them. */
  startProcesses(): void
  log(line: string): void
}

export async function carryOut(plan: readonly Planned[], stage: Stage): Promise<Happened[]> {
  const startMs = performance.now()
  const happened: Happened[] = []
  for (const planned of plan) {
    await pause(planned.afterMs)
    const beganAtMs = performance.now()
    await (planned.kind === 'kill' ? kill(planned, stage) : disturb(planned, stage))
    const overAtMs = performance.now()
    await stage.relay.live(RECONNECT_DEADLINE_MS)
    happened.push({ planned, beganAtMs, overAtMs, tunnelMs: performance.now() - overAtMs })
    stage.log(`${((beganAtMs - startMs) / 1_000).toFixed(2)} s: ${describe(planned)}`)
  }
  return happened
}

async function kill(planned: Planned & { kind: 'kill' }, { world, startProcesses }: Stage): Promise<void> {
  startProcesses()
  await pause(planned.afterStartMs)
  await world.killGateway('SIGKILL')
  await pause(planned.downMs)
  await world.startGateway()
}

async function disturb(planned: Exclude<Planned, { kind: 'kill' }>, { relay, startProcesses }: Stage): Promise<void> {
  const carried = await relay.live(RECONNECT_DEADLINE_MS) // it may have been lost by itself meanwhile
  switch (planned.kind) {
    case 'cut':
      carried.cut(planned.how)
      break
    case 'torn':
      await carried.tear(planned.from, planned.bytes)
      break
    case 'twice':
      relay.breakNextAfter(planned.bytes)
      carried.cut('close')
      break
    case 'births':
      startProcesses()
      await pause(planned.afterStartMs)
      carried.cut('close')
      break
    case 'silence':
      carried.silence()
      await pause(planned.ms)
      carried.cut('close')
      break
    case 'stall':
      carried.silence()
      await pause(planned.ms)
      carried.resume()
      break
    default:
      planned satisfies never
  }
}
