/** Rules that stand only in the prose of the API reference (docs.aws.amazon.com/AmazonECS/latest/APIReference), each with its page. */
import type { RegisterTaskDefinitionCommandInput, RunTaskCommandInput, TaskDefinition } from '@aws-sdk/client-ecs'
import { invalid } from './errors.ts'

/** API_RunTask.html: "An optional tag ... up to 128 letters, numbers, hyphens, forward slashes, and underscores". */
const STARTED_BY = /^[A-Za-z0-9/_-]{1,128}$/
/** ECS_Idempotency.html: "up to 64 ASCII characters", 33 to 126. */
const CLIENT_TOKEN = /^[\x21-\x7e]{1,64}$/
/** API_TaskOverride.html: "A total of 8192 characters are allowed for overrides. This limit includes the JSON formatting". */
const MAX_OVERRIDES = 8_192
/** task_definition_parameters.html, "Task size": CPU units, and MiB: from, to, step. */
const FARGATE_SIZES: ReadonlyMap<number, readonly [number, number, number]> = new Map([
  [256, [512, 2_048, 512]],
  [512, [1_024, 4_096, 1_024]],
  [1_024, [2_048, 8_192, 1_024]],
  [2_048, [4_096, 16_384, 1_024]],
  [4_096, [8_192, 30_720, 1_024]],
  [8_192, [16_384, 61_440, 4_096]],
  [16_384, [32_768, 122_880, 8_192]],
])

export const isFargate = (request: RunTaskCommandInput): boolean =>
  request.launchType === 'FARGATE' ||
  (request.capacityProviderStrategy ?? []).some(({ capacityProvider }) => capacityProvider?.startsWith('FARGATE'))

export function checkRunTask(request: RunTaskCommandInput, definition: TaskDefinition): void {
  const { count = 1, launchType, capacityProviderStrategy = [], startedBy, clientToken, overrides } = request
  if (count < 1 || count > 10) throw invalid('count must be from 1 to 10')
  // API_RunTask.html, launchType: "If a capacityProviderStrategy is specified, the launchType parameter must be omitted".
  if (launchType !== undefined && capacityProviderStrategy.length > 0)
    throw invalid('Specify either a launch type or a capacity provider strategy, not both.')
  if (startedBy !== undefined && !STARTED_BY.test(startedBy))
    throw invalid('startedBy has characters that are not allowed')
  if (clientToken !== undefined && !CLIENT_TOKEN.test(clientToken)) throw invalid('clientToken is not valid')
  if (JSON.stringify(overrides ?? {}).length > MAX_OVERRIDES)
    throw invalid('Container Overrides length must be at most 8192')
  for (const { name } of overrides?.containerOverrides ?? [])
    if (!definition.containerDefinitions?.some((one) => one.name === name))
      throw invalid(`Override for container named ${name} is not a container in the TaskDefinition.`)
  const network = request.networkConfiguration?.awsvpcConfiguration
  // API_RunTask.html, networkConfiguration: "required for task definitions that use the awsvpc network mode".
  if (definition.networkMode === 'awsvpc' && network === undefined)
    throw invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
  if (network?.assignPublicIp === 'ENABLED' && !isFargate(request))
    // API_AwsVpcConfiguration.html and task-networking-awsvpc.html: tasks on EC2 get no public address.
    throw invalid('Assign public IP is not supported for this launch type.')
  if ((network?.subnets?.length ?? 0) > 16 || (network?.securityGroups?.length ?? 0) > 5)
    throw invalid('at most 16 subnets and 5 security groups')
  if (isFargate(request)) checkFargate(request, definition)
}

function checkFargate(request: RunTaskCommandInput, definition: TaskDefinition): void {
  if (!definition.requiresCompatibilities?.includes('FARGATE'))
    throw invalid('Task definition does not support launch_type FARGATE.')
  const cpu = Number(request.overrides?.cpu ?? definition.cpu)
  const memory = Number(request.overrides?.memory ?? definition.memory)
  const [from, to, step] = FARGATE_SIZES.get(cpu) ?? [0, -1, 1]
  if (!(memory >= from && memory <= to && (memory - from) % step === 0))
    throw invalid('No Fargate configuration exists for given values.')
}

export function checkDefinition(request: RegisterTaskDefinitionCommandInput): void {
  // API_RegisterTaskDefinition.html, family: "Up to 255 letters (uppercase and lowercase), numbers, underscores, and hyphens".
  if (!/^[A-Za-z0-9_-]{1,255}$/.test(request.family ?? '')) throw invalid('family is not valid')
  if (request.requiresCompatibilities?.includes('FARGATE')) {
    if (request.networkMode !== 'awsvpc') throw invalid('Fargate only supports network mode awsvpc.')
    if (!request.cpu || !request.memory)
      throw invalid('Fargate requires that cpu and memory be defined at the task level.')
    for (const container of request.containerDefinitions ?? []) {
      if (container.privileged) throw invalid('privileged is not supported on Fargate')
      // fargate-security-considerations.html: "add only the SYS_PTRACE capability".
      if (container.linuxParameters?.capabilities?.add?.some((name) => name !== 'SYS_PTRACE'))
        throw invalid('Fargate adds SYS_PTRACE only')
      // task_definition_parameters.html, stopTimeout: "The max stop timeout value is 120 seconds" on Fargate.
      if ((container.stopTimeout ?? 0) > 120) throw invalid('stopTimeout is at most 120 seconds on Fargate')
      if (container.logConfiguration?.logDriver === 'awslogs' && !request.executionRoleArn)
        throw invalid('Fargate requires task definition to have execution role ARN to support log driver awslogs.')
    }
  }
}
