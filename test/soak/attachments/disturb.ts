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
}

/** The agent waits up to 10 s between dials, and so may its handshake. */
const RECONNECT_DEADLINE_MS = 40_000

interface Stage {
  world: World
  relay: Relay
  log(line: string): void
}

export async function carryOut(plan: readonly Planned[], stage: Stage): Promise<Happened[]> {
  const startMs = performance.now()
  const happened: Happened[] = []
  for (const planned of plan) {
    await stage.relay.live(RECONNECT_DEADLINE_MS)
    await pause(planned.afterMs)
    const one = await (planned.kind === 'kill' ? kill(planned, stage) : disturb(planned, stage))
    happened.push(one)
    stage.log(`${((one.beganAtMs - startMs) / 1_000).toFixed(2)} s: ${describe(planned)}`)
  }
  return happened
}

async function kill(planned: Planned & { kind: 'kill' }, { world }: Stage): Promise<Happened> {
  const beganAtMs = performance.now()
  await world.killGateway('SIGKILL')
  await pause(planned.downMs)
  await world.startGateway()
  return { planned, beganAtMs, overAtMs: performance.now() }
}

async function disturb(planned: Exclude<Planned, { kind: 'kill' }>, { relay }: Stage): Promise<Happened> {
  const carried = await relay.live(RECONNECT_DEADLINE_MS) // a one-sided cut may have been noticed only now
  const beganAtMs = performance.now()
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
  return { planned, beganAtMs, overAtMs: performance.now() }
}
