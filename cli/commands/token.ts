/** `rclaude token create|ls|rotate|revoke`, for administrators of a gateway. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { Client } from '../../protocol/client.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import { TokenId } from '../../protocol/ids.ts'
import type { TokenLimits } from '../../protocol/limits.ts'
import { ROLES, type Role, SCOPES, type Scope } from '../../protocol/route.ts'
import { routes, type Token } from '../../protocol/routes.ts'
import { formatSeconds } from '../../protocol/units.ts'
import { act, amount, duration, type Invocation, newCommand, wholeNumber } from '../command.ts'
import { count } from '../output.ts'
import { roughly } from '../times.ts'
import type { World } from '../world.ts'

interface CreateOptions {
  user: string
  role: Role
  scope?: Scope[]
  expires?: number
  maxTasks?: number
  dailyBudget?: number
  taskBudget?: number
  taskTimeout?: number
}

interface RotateOptions {
  expires?: number
  grace?: number
}

export function define(world: World): Command {
  const create = newCommand('create', 'make a token; its value is printed once and kept nowhere', [
    'rclaude token create laptop --user ana --role member --expires 90d > token.txt',
    'rclaude token create ci --user ci --scope tasks:read,tasks:write   no exec, no files, no ports',
    'rclaude token create ci --user bot --max-tasks 2 --daily-budget 10',
  ])
    .argument('<name>', 'what it is for')
    .requiredOption('--user <name>', 'whose it is')
    .addOption(new Option('--role <role>', 'what it may do').choices(ROLES).default('member'))
    .option('--scope <scopes>', `narrower than the role: ${SCOPES.join(', ')}`, scopes)
    .option('--expires <duration>', "ends after so long, or never; the gateway's default otherwise", lifetime)
    .option('--max-tasks <n>', 'so many of its tasks run at once', wholeNumber)
    .option('--daily-budget <usd>', 'its tasks cost at most so much in a day (UTC)', amount)
    .option('--task-budget <usd>', 'each turn of a task costs at most so much', amount)
    .option('--task-timeout <duration>', 'each turn of a task ends after so long', duration)
    .action(act(world, createToken))
  const rotate = newCommand('rotate', 'give a token a new value; the old one is taken a while longer', [
    'rclaude token rotate laptop > token.txt',
    'rclaude token rotate laptop --grace 0    the old value ends at once, with all it opened',
  ])
    .argument('<token>', 'its name or id')
    .option('--expires <duration>', 'the new value ends after so long, or never; as long as before otherwise', lifetime)
    .option('--grace <duration>', 'the old value is taken for so long', duration)
    .action(act(world, rotateToken))
  const revoke = newCommand('revoke', 'revoke a token and close its connections')
    .argument('<token>', 'its name or id')
    .action(act(world, revokeToken))
  return newCommand('token', 'make, list, rotate and revoke tokens')
    .addCommand(create)
    .addCommand(newCommand('ls', 'list tokens, without their values').action(act(world, list)))
    .addCommand(rotate)
    .addCommand(revoke)
}

/** 0 says "never" on the wire. */
const lifetime = (text: string): number => (text === 'never' ? 0 : duration(text))

function scopes(text: string): Scope[] {
  const names = text.split(',').map((name) => name.trim())
  const unknown = names.find((name) => !(SCOPES as readonly string[]).includes(name))
  if (unknown !== undefined) throw new InvalidArgumentError(`"${unknown}" is none of ${SCOPES.join(', ')}.`)
  return names as Scope[]
}

async function createToken(invocation: Invocation, name: string, options: CreateOptions): Promise<undefined> {
  const { client } = await invocation.connect()
  const { user, role, scope, expires } = options
  const body = {
    ...{ name, user, role },
    ...(scope !== undefined && { scope }),
    ...(expires !== undefined && { expiresInSeconds: Math.ceil(expires) }),
    limits: limitsOf(options),
  }
  await printSecret(invocation, 'made', await client.call(routes.createToken, { body }))
}

async function rotateToken(invocation: Invocation, name: string, options: RotateOptions): Promise<undefined> {
  const { client } = await invocation.connect()
  const { id } = await findToken(client, name)
  const body = {
    ...(options.expires !== undefined && { expiresInSeconds: Math.ceil(options.expires) }),
    ...(options.grace !== undefined && { graceSeconds: Math.ceil(options.grace) }),
  }
  await printSecret(invocation, 'rotated', await client.call(routes.rotateToken, { params: { tokenId: id }, body }))
}

async function printSecret(
  { out }: Invocation,
  done: string,
  { token, secret }: { token: Token; secret: string },
): Promise<void> {
  if (out.json) return out.data({ token, secret })
  const narrowed = token.scope === undefined ? '' : `, only ${token.scope.join(', ')}`
  const until = token.expiresAt === undefined ? '' : `, until ${token.expiresAt}`
  const old = token.previousUntil === undefined ? '' : `; the old value is taken until ${token.previousUntil}`
  out.note(`${done} ${token.id} for ${token.user} (${token.role}${narrowed})${until}${old}:`)
  await out.line(secret)
}

function limitsOf({ maxTasks, dailyBudget, taskBudget, taskTimeout }: CreateOptions): TokenLimits {
  if (maxTasks === 0)
    throw new RclaudeError('invalid', '--max-tasks must be at least 1; rclaude token revoke ends it all')
  if (taskTimeout !== undefined && taskTimeout < 1)
    throw new RclaudeError('invalid', '--task-timeout must be at least 1s')
  return {
    ...(maxTasks !== undefined && { maxTasks }),
    ...(dailyBudget !== undefined && { dailyBudgetUsd: dailyBudget }),
    ...(taskBudget !== undefined && { taskBudgetUsd: taskBudget }),
    ...(taskTimeout !== undefined && { taskTimeoutSeconds: Math.ceil(taskTimeout) }),
  }
}

/** `2 tasks, $5/day`; empty for none. */
function limitsText({ maxTasks, dailyBudgetUsd, taskBudgetUsd, taskTimeoutSeconds }: TokenLimits = {}): string {
  return [
    maxTasks === undefined ? '' : count(maxTasks, 'task'),
    dailyBudgetUsd === undefined ? '' : `$${dailyBudgetUsd}/day`,
    taskBudgetUsd === undefined ? '' : `$${taskBudgetUsd}/task`,
    taskTimeoutSeconds === undefined ? '' : formatSeconds(taskTimeoutSeconds),
  ]
    .filter((text) => text !== '')
    .join(', ')
}

async function list(invocation: Invocation): Promise<undefined> {
  const { out } = invocation
  const { client } = await invocation.connect()
  const { tokens } = await client.call(routes.listTokens)
  if (out.json) return void (await out.data({ tokens }))
  const nowMs = Date.now()
  const columns = ['ID', 'USER', 'ROLE', 'SCOPE', 'STATE', 'LAST USED', 'LIMITS', 'NAME'].map((title) => ({ title }))
  await out.table(
    columns,
    tokens.map((token) => [
      token.id,
      token.user,
      token.role,
      token.scope?.join(',') ?? 'all',
      stateOf(token, nowMs),
      token.lastUsedAt === undefined ? 'never' : `${roughly((nowMs - Date.parse(token.lastUsedAt)) / 1000)} ago`,
      limitsText(token.limits),
      token.name,
    ]),
  )
}

function stateOf(token: Token, nowMs: number): string {
  if (token.revokedAt !== undefined) return 'revoked'
  if (token.expiresAt === undefined) return 'valid'
  const leftSeconds = (Date.parse(token.expiresAt) - nowMs) / 1000
  return leftSeconds <= 0 ? 'expired' : `valid for ${roughly(leftSeconds)}`
}

async function revokeToken(invocation: Invocation, name: string): Promise<undefined> {
  const { out } = invocation
  const { client } = await invocation.connect()
  const { id } = await findToken(client, name)
  await client.call(routes.revokeToken, { params: { tokenId: id } })
  if (out.json) return void (await out.data({ revoked: id }))
  await out.line(`revoked ${id}`)
}

/** Names need not be unique, so one that fits several is refused. */
async function findToken(client: Pick<Client, 'call'>, name: string): Promise<Pick<Token, 'id'>> {
  const whole = TokenId.safeParse(name)
  if (whole.success) return { id: whole.data }
  const { tokens } = await client.call(routes.listTokens)
  const found = tokens.filter((token) => token.name === name && token.revokedAt === undefined)
  const [first, second] = found
  if (first === undefined)
    throw new RclaudeError('invalid', `no valid token has the name or id "${name}"; see rclaude token ls`)
  if (second === undefined) return first
  const all = found.map(({ id, user }) => `${id} (${user})`).join(', ')
  throw new RclaudeError('invalid', `several tokens are named "${name}": ${all}; give the id`)
}
