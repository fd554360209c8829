/** What CloudFormation says that it made: outputs named like the keys of `launchers.ecs` (deploy/aws/tasks.yaml). */
import { z } from 'zod'
import { RclaudeError } from '../../protocol/errors.ts'
import type { EcsSection } from '../../protocol/launcher-config.ts'

const Outputs = z.array(z.object({ OutputKey: z.string(), OutputValue: z.string() }))
/** With or without `--query 'Stacks[0].Outputs'`. */
const Described = z.union([
  Outputs,
  z.object({ Stacks: z.tuple([z.object({ Outputs })], z.unknown()) }).transform(({ Stacks }) => Stacks[0].Outputs),
])

const LISTS = new Set(['subnets', 'securityGroups', 'capacityProviders'])
const TEXTS = new Set(['cluster', 'region', 'capacity', 'executionRoleArn', 'taskRoleArn', 'architecture', 'logGroup'])

/** What is no key of the section is left out. @throws RclaudeError `invalid` */
export function outputsOf(text: string): Partial<EcsSection> {
  const described = Described.safeParse(parse(text))
  if (!described.success)
    throw new RclaudeError(
      'invalid',
      'these are no outputs of a stack: aws cloudformation describe-stacks --output json gives them',
    )
  const section: Record<string, unknown> = {}
  for (const { OutputKey: key, OutputValue: value } of described.data) {
    if (value === '') continue
    if (LISTS.has(key)) section[key] = value.split(',')
    else if (TEXTS.has(key)) section[key] = value
    else if (key === 'assignPublicIp') section[key] = ['true', 'ENABLED'].includes(value)
  }
  return section
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
