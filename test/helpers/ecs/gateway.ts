/** A gateway in this process with the ECS launcher at the ECS of the tests, and tasks whose containers have the real agent or none. */
import { expect, onTestFinished } from 'vitest'
import type { Launcher } from '../../../gateway/launchers/launcher.ts'
import { newGatewayId } from '../../../protocol/ids.ts'
import { startStubGateway } from '../stub-gateway.ts'
import type { Image } from './container.ts'
import { IMAGE, startEcsSite } from './site.ts'

/** A container whose agent never comes. */
const asleep: Image = ({ env }) => ({ argv: ['/bin/sleep', '600'], env })

export interface EcsGatewayOptions {
  agent: 'real' | 'asleep'
  /** Of `launchers.ecs`. */
  section?: object
  /** Puts something between gateway and launcher. */
  wrap?: (launcher: Launcher) => Launcher
}

export async function startEcsGateway({ agent, section, wrap = (launcher) => launcher }: EcsGatewayOptions) {
  const site = await startEcsSite(agent === 'asleep' ? { images: { [IMAGE]: asleep } } : {})
  const { ecs } = site
  onTestFinished(async () => {
    await ecs.close()
    expect(ecs.problems).toEqual([])
  })
  const gateway = await startStubGateway(
    { launchers: { default: 'ecs', process: { enabled: false } } },
    { launchers: [wrap(site.launcher(newGatewayId(), section))] },
  )
  return { ecs, gateway }
}
