/** The ECS launcher at the ECS of the tests, whose image is the built agent. */
import { resolve } from 'node:path'
import { createEcsLauncher } from '../../../gateway/launchers/ecs/ecs.ts'
import { EcsSection } from '../../../protocol/launcher-config.ts'
import { AGENT_ENV } from '../../../protocol/run.ts'
import type { Image } from './container.ts'
import { type Ecs, type EcsOptions, startEcs } from './server.ts'

export const IMAGE = 'rclaude-agent:test'

/** A container has nothing of the machine's environment; the folder stands for its file system. */
const agent: Image = ({ folder, env }) => ({
  argv: [process.execPath, resolve('dist/agent.js')],
  env: { PATH: '/usr/local/bin:/usr/bin:/bin', HOME: folder, ...env, [AGENT_ENV.directory]: folder },
})

export const sectionAt = (url: string, more: object = {}): EcsSection =>
  EcsSection.parse({
    image: IMAGE,
    cluster: 'rclaude',
    region: 'eu-central-1',
    endpoint: url,
    subnets: ['subnet-0a', 'subnet-0b'],
    assignPublicIp: true,
    ...more,
  })

/** Environment of a gateway whose tasks run there. */
export const ecsSettings = (ecs: Ecs): Record<string, string> => ({
  AWS_ACCESS_KEY_ID: ecs.credentials.accessKeyId,
  AWS_SECRET_ACCESS_KEY: ecs.credentials.secretAccessKey,
  RCLAUDE_LAUNCHERS__DEFAULT: 'ecs',
  RCLAUDE_LAUNCHERS__ECS__IMAGE: IMAGE,
  RCLAUDE_LAUNCHERS__ECS__CLUSTER: 'rclaude',
  RCLAUDE_LAUNCHERS__ECS__REGION: 'eu-central-1',
  RCLAUDE_LAUNCHERS__ECS__ENDPOINT: ecs.url,
  RCLAUDE_LAUNCHERS__ECS__SUBNETS: '[subnet-0a]',
})

export const ecsLauncherAt = (ecs: Ecs, gatewayId: string, more: object = {}, timing: { graceMs?: number } = {}) =>
  createEcsLauncher({
    section: sectionAt(ecs.url, more),
    gatewayId,
    credentials: ecs.credentials,
    graceMs: 2_000,
    pollMs: 20,
    ...timing,
  })

export interface EcsSite {
  ecs: Ecs
  launcher(gatewayId: string, more?: object, timing?: { graceMs?: number }): ReturnType<typeof createEcsLauncher>
}

export async function startEcsSite(options: EcsOptions = {}): Promise<EcsSite> {
  const ecs = await startEcs({ images: { [IMAGE]: agent }, ...options })
  return { ecs, launcher: (...gateway) => ecsLauncherAt(ecs, ...gateway) }
}
