/** `rclaude ecs init`: the section `launchers.ecs` of a gateway's configuration, from what CloudFormation made or from flags. */
import { readFile, realpath } from 'node:fs/promises'
import { resolve } from 'node:path'
import { type Command, Option } from 'commander'
import { RclaudeError } from '../../protocol/errors.ts'
import { EcsSection } from '../../protocol/launcher-config.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import { replaceFile } from '../replace-file.ts'
import type { World } from '../world.ts'
import { outputsOf } from './outputs.ts'
import { makeCommand, policyCommand, readCommand } from './stacks.ts'

interface InitOptions {
  config: string
  outputs?: string
  image?: string
  cluster?: string
  region?: string
  subnets?: string[]
  securityGroups?: string[]
  publicIp?: boolean
  capacity?: EcsSection['capacity']
  capacityProviders?: string[]
  executionRole?: string
  logGroup?: string
  agentUrl?: string
  default?: boolean
  force?: boolean
  dryRun?: boolean
}

/** What nobody else can know. */
const NEEDED = { cluster: '--cluster', region: '--region', subnets: '--subnets', image: '--image' } as const

const list = (text: string): string[] => text.split(',').filter((one) => one !== '')

export function defineInit(world: World): Command {
  return newCommand(
    'init',
    "write launchers.ecs into a gateway's configuration, and say what CloudFormation has to make",
    [
      'rclaude ecs init                                   the commands that make cluster, roles and network rules',
      'rclaude ecs init --outputs outputs.json --image 123456789012.dkr.ecr.eu-central-1.amazonaws.com/rclaude-agent:0.1.0',
      'rclaude ecs init --cluster dev --region eu-central-1 --subnets subnet-0a1b,subnet-2c3d --public-ip --image IMAGE',
    ],
  )
    .option('--config <file>', "the gateway's; made when it is not there", 'config.yaml')
    .option('--outputs <file>', 'outputs of the stack of deploy/aws/tasks.yaml as JSON; - for stdin')
    .option('--image <image>', 'of the agent')
    .option('--cluster <name>', 'name or ARN')
    .option('--region <region>', 'such as eu-central-1')
    .option('--subnets <ids>', 'with commas between them', list)
    .option('--security-groups <ids>', 'with commas between them', list)
    .option('--public-ip', 'tasks get one: without NAT they need it')
    .addOption(
      new Option('--capacity <kind>', 'where tasks run unless they say').choices(['fargate', 'fargate-spot', 'ec2']),
    )
    .option('--capacity-providers <names>', 'of the cluster, for ec2', list)
    .option('--execution-role <arn>', 'pulls the image, writes the log')
    .option('--log-group <name>', 'in CloudWatch')
    .option('--agent-url <url>', 'where containers reach the gateway (agentUrl)')
    .option('--default', 'tasks that name no launcher run there')
    .option('--force', 'replace the section that is there')
    .option('-n, --dry-run', 'print it, write nothing')
    .action(act(world, init))
}

async function init({ world, out }: Invocation, options: InitOptions): Promise<undefined> {
  const given = { ...(options.outputs && outputsOf(await textOf(world, options.outputs))), ...fromFlags(options) }
  const missing = Object.entries(NEEDED).filter(([key]) => !(key in given))
  if (missing.length === Object.keys(NEEDED).length) return void (await explain(out))
  if (missing.length > 0)
    throw new RclaudeError(
      'invalid',
      `${missing.map(([, flag]) => flag).join(', ')} ${missing.length === 1 ? 'is' : 'are'} missing: say it, or --outputs of the stack (rclaude ecs init says which)`,
    )
  const section = checked(given)
  const file = await realpath(resolve(world.cwd, options.config)).catch(() => resolve(world.cwd, options.config))
  const { editConfig } = await import('./config-file.ts') // `yaml` is large
  const { text, written, dropped } = await editConfig(file, given, options)
  await refuseUnreadable(file, text)
  if (options.dryRun !== true)
    await replaceFile(file, text).catch((error: Error) => {
      throw new RclaudeError('invalid', `cannot write ${file}: ${error.message}`)
    })
  const commands = [policyCommand(section)]
  if (out.json)
    return void (await out.data({ file, written: options.dryRun !== true, section: given, dropped, commands }))
  await out.line(written.trimEnd())
  out.note(options.dryRun === true ? `${file} stays as it is` : `written to ${file}; what is not there has its default`)
  if (dropped.length > 0)
    out.note(
      `launchers.ecs ${options.dryRun === true ? 'would lose' : 'has lost'} what --force replaced: ${dropped.join(', ')}`,
    )
  await out.line()
  await out.line(`# what the gateway may do; RoleName is the role that it runs as\n${commands.join('\n')}`)
  out.note('then restart the gateway, and: rclaude ecs doctor')
}

/** The gateway would not start with it: nothing is written then. */
async function refuseUnreadable(file: string, text: string): Promise<void> {
  const [{ parse }, { GatewayConfig }] = await Promise.all([import('yaml'), import('../../protocol/config.ts')])
  const refuse = (why: string) =>
    new RclaudeError('invalid', `the gateway would not start with ${file} as it would be: ${why}`)
  let written: unknown
  try {
    written = parse(text)
  } catch (error) {
    throw refuse((error as Error).message)
  }
  const [problem] = GatewayConfig.safeParse(written).error?.issues ?? []
  if (problem !== undefined) throw refuse(`${problem.path.join('.')}: ${problem.message}`)
}

async function explain(out: Invocation['out']): Promise<void> {
  const commands = [makeCommand(), readCommand(), 'rclaude ecs init --outputs outputs.json --image IMAGE']
  if (out.json) await out.data({ commands })
  else await out.line(`# cluster, roles, log group, a security group that lets nobody in\n${commands.join('\n')}`)
}

function fromFlags(options: InitOptions): Partial<EcsSection> {
  const { image, cluster, region, subnets, securityGroups, publicIp, capacity, capacityProviders } = options
  return Object.fromEntries(
    Object.entries({
      ...{ image, cluster, region, subnets, securityGroups, capacity, capacityProviders },
      assignPublicIp: publicIp,
      executionRoleArn: options.executionRole,
      logGroup: options.logGroup,
    }).filter(([, value]) => value !== undefined),
  )
}

/** @throws RclaudeError `invalid`, naming each key */
function checked(given: object): EcsSection {
  const parsed = EcsSection.safeParse(given)
  if (parsed.success) return parsed.data
  const lines = parsed.error.issues.map(({ path, message }) => `  ${path.join('.')}: ${message}`)
  throw new RclaudeError('invalid', `that is no launchers.ecs:\n${lines.join('\n')}`)
}

async function textOf(world: World, name: string): Promise<string> {
  if (name !== '-')
    return await readFile(resolve(world.cwd, name), 'utf8').catch((error: Error) => {
      throw new RclaudeError('invalid', `cannot read ${name}: ${error.message}`)
    })
  let text = ''
  for await (const part of world.stdin) text += part
  return text
}
