/** `rclaude token create|ls|revoke`, for administrators of a gateway. */
import { type Command, Option } from 'commander'
import { RclaudeError } from '../../protocol/errors.ts'
import { TokenId } from '../../protocol/ids.ts'
import type { TokenLimits } from '../../protocol/limits.ts'
import { ROLES, type Role } from '../../protocol/route.ts'
import { routes, type Token } from '../../protocol/routes.ts'
import { formatSeconds } from '../../protocol/units.ts'
import { act, amount, duration, type Invocation, newCommand, wholeNumber } from '../command.ts'
import { count } from '../output.ts'
import { roughly } from '../times.ts'
import type { World } from '../world.ts'

interface CreateOptions {
  user: string
  role: Role
  expires?: number
  maxTasks?: number
  dailyBudget?: number
  taskBudget?: number
  taskTimeout?: number
}

export function define(world: World): Command {
  const create = newCommand('create', 'make a token; its value is printed once and kept nowhere', [
    'rclaude token create laptop --user ana --role member --expires 90d > token.txt',
    'rclaude token create ci --user bot --max-tasks 2 --daily-budget 10',
  ])
    .argument('<name>', 'what it is for')
    .requiredOption('--user <name>', 'whose it is')
    .addOption(new Option('--role <role>', 'what it may do').choices(ROLES).default('member'))
    .option('--expires <duration>', 'ends after so long', duration)
    .option('--max-tasks <n>', 'so many of its tasks run at once', wholeNumber)
    .option('--daily-budget <usd>', 'its tasks cost at most so much in a day (UTC)', amount)
    .option('--task-budget <usd>', 'each turn of a task costs at most so much', amount)
    .option('--task-timeout <duration>', 'each turn of a task ends after so long', duration)
    .action(act(world, createToken))
  const revoke = newCommand('revoke', 'revoke a token and close its connections')
    .argument('<id>', 'as token ls shows it')
    .action(act(world, revokeToken))
  return newCommand('token', 'make, list and revoke tokens')
    .addCommand(create)
    .addCommand(newCommand('ls', 'list tokens, without their values').action(act(world, list)))
    .addCommand(revoke)
}

async function createToken(invocation: Invocation, name: string, options: CreateOptions): Promise<undefined> {
  const { out } = invocation
  const { client } = await invocation.connect()
  const body = {
    name,
    user: options.user,
    role: options.role,
    ...(options.expires !== undefined && { expiresInSeconds: Math.ceil(options.expires) }),
    limits: limitsOf(options),
  }
  const { token, secret } = await client.call(routes.createToken, { body })
  if (out.json) return void (await out.data({ token, secret }))
  out.note(
    `made ${token.id} for ${token.user} (${token.role})${token.expiresAt === undefined ? '' : `, until ${token.expiresAt}`}:`,
  )
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
  const columns = ['ID', 'USER', 'ROLE', 'STATE', 'LAST USED', 'LIMITS', 'NAME'].map((title) => ({ title }))
  await out.table(
    columns,
    tokens.map((token) => [
      token.id,
      token.user,
      token.role,
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

async function revokeToken(invocation: Invocation, id: string): Promise<undefined> {
  const { out } = invocation
  const tokenId = TokenId.safeParse(id)
  if (!tokenId.success) throw new RclaudeError('invalid', `"${id}" is no id of a token; see rclaude token ls`)
  const { client } = await invocation.connect()
  await client.call(routes.revokeToken, { params: { tokenId: tokenId.data } })
  if (out.json) return void (await out.data({ revoked: tokenId.data }))
  await out.line(`revoked ${tokenId.data}`)
}
