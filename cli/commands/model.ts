/** `rclaude model add|ls|check|rm`: ways to a model that the gateway keeps for its user's tasks. */
import { type Command, Option } from 'commander'
import { RclaudeError } from '../../protocol/errors.ts'
import {
  MODEL_KINDS,
  type ModelKind,
  ModelProfileName,
  type ModelSettings,
  profileFault,
} from '../../protocol/model.ts'
import { type ModelProfile, routes } from '../../protocol/routes.ts'
import { act, collect, type Invocation, newCommand } from '../command.ts'
import { profileFromEnvironment } from '../credentials.ts'
import { readAll } from '../prompt.ts'
import { parseSecrets } from '../variables.ts'
import type { World } from '../world.ts'

interface AddOptions extends Omit<ModelSettings, 'kind'> {
  kind?: ModelKind
  secret?: string[]
  default?: boolean
}

const KINDS = Object.keys(MODEL_KINDS) as ModelKind[]

export function define(world: World): Command {
  const add = newCommand('add', 'keep a way to a model on the gateway, or replace it', [
    'rclaude model add work                                  what your environment has: a key, a token, Bedrock, Vertex',
    'rclaude model add work --kind anthropic --secret ANTHROPIC_API_KEY=@key.txt --default',
    'rclaude model add eu --kind bedrock --region eu-central-1 --secret AWS_BEARER_TOKEN_BEDROCK',
    'rclaude model add local --kind bearer --base-url https://llm.example.org --secret ANTHROPIC_AUTH_TOKEN=-',
  ])
    .argument('<name>', 'to call it by')
    .addOption(new Option('--kind <kind>', 'what it is; without it, what your environment has').choices(KINDS))
    .option('--base-url <url>', 'address, when it is not the usual one')
    .option('--region <region>', 'of Bedrock or Vertex')
    .option('--project <id>', 'of Vertex')
    .option('--model <name>', 'for tasks that name none')
    .option('--secret <name>', 'from your environment; NAME=@FILE from a file, NAME=- from standard input', collect)
    .option('--default', 'for tasks that bring no credentials themselves')
    .action(act(world, addProfile))
  const named = (name: string, summary: string, work: Parameters<typeof act<[string]>>[1]) =>
    newCommand(name, summary).argument('<name>', 'as model ls shows it').action(act(world, work))
  return newCommand('model', 'keep ways to a model: keys, tokens, Bedrock, Vertex')
    .addCommand(add)
    .addCommand(newCommand('ls', 'list those that your tasks can use').action(act(world, list)))
    .addCommand(named('check', 'ask the model server whether it takes the credentials', check))
    .addCommand(named('rm', 'delete one, secrets included', remove))
}

async function addProfile(invocation: Invocation, name: string, options: AddOptions): Promise<undefined> {
  const { out, world } = invocation
  nameOf(name)
  const { secret: given, default: makeDefault = false, kind, ...rest } = options
  const settings = Object.fromEntries(
    (['baseUrl', 'region', 'project', 'model'] as const).flatMap((key) =>
      rest[key] === undefined ? [] : [[key, rest[key]]],
    ),
  )
  const found = kind === undefined ? await profileFromEnvironment(world) : undefined
  if (kind === undefined && found === undefined)
    throw new RclaudeError(
      'invalid',
      `your environment has no way to a model: say --kind ${KINDS.join('|')} and --secret NAME`,
    )
  const secrets = await parseSecrets(given ?? [], { env: world.env, readStdin: () => readAll(world.stdin) })
  const body = { ...found?.settings, ...(kind !== undefined && { kind }), ...settings } as ModelSettings
  const all = { ...found?.secrets, ...secrets }
  const fault = profileFault(body, Object.keys(all))
  if (fault !== undefined)
    throw new RclaudeError('invalid', `${fault.replace('baseUrl', '--base-url')}: see rclaude model add --help`)
  const { client } = await invocation.connect()
  const profile = await client.call(routes.putModel, { params: { name }, body: { ...body, secrets: all, makeDefault } })
  const checked = await client.call(routes.checkModel, { params: { name } })
  if (out.json) return void (await out.data({ profile, check: checked }))
  await out.line(
    `kept ${name}: ${describe(profile)}${profile.isDefault ? ', for tasks that bring no credentials' : ''}`,
  )
  if (checked.verdict === 'refused') out.note(out.style.yellow(`! ${checked.detail}`))
  else if (checked.verdict === 'accepted') out.note(checked.detail)
}

async function list(invocation: Invocation): Promise<undefined> {
  const { out } = invocation
  const { client } = await invocation.connect()
  const { profiles } = await client.call(routes.listModels)
  if (out.json) return void (await out.data({ profiles }))
  if (profiles.length === 0) return void out.note('none yet: rclaude model add NAME keeps what your environment has')
  const columns = ['NAME', 'KIND', 'OF', 'DEFAULT', 'MODEL', 'WHERE'].map((title) => ({ title }))
  await out.table(
    columns,
    profiles.map((one) => [one.name, one.kind, one.of, one.isDefault ? 'yes' : '', one.model ?? '', where(one)]),
  )
}

async function check(invocation: Invocation, name: string): Promise<number> {
  const { out } = invocation
  nameOf(name)
  const { client } = await invocation.connect()
  const checked = await client.call(routes.checkModel, { params: { name } })
  if (out.json) await out.data(checked)
  else await out.line(`${checked.verdict}: ${checked.detail}`)
  return checked.verdict === 'refused' ? 1 : 0
}

async function remove(invocation: Invocation, name: string): Promise<undefined> {
  nameOf(name)
  const { client } = await invocation.connect()
  await client.call(routes.deleteModel, { params: { name } })
  if (invocation.out.json) return void (await invocation.out.data({ deleted: name }))
  await invocation.out.line(`deleted ${name}`)
}

function nameOf(name: string): void {
  const parsed = ModelProfileName.safeParse(name)
  if (!parsed.success) throw new RclaudeError('invalid', `"${name}" is no name: ${parsed.error.issues[0]?.message}`)
}

const describe = (profile: ModelProfile): string =>
  `${MODEL_KINDS[profile.kind]?.summary ?? profile.kind}${where(profile) === '' ? '' : ` at ${where(profile)}`}`

const where = ({ baseUrl, region, project }: ModelProfile): string =>
  [baseUrl, project, region].filter((part) => part !== undefined).join(' ')
