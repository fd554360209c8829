/** `rclaude limits`: what of the limits is used, the day's money first of all. */
import type { Command } from 'commander'
import { type Allowance, type Allowances, routes } from '../../protocol/routes.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import type { World } from '../world.ts'

export function define(world: World): Command {
  return newCommand('limits', 'what was spent today, and what of your limits is used', [
    'rclaude limits                 yours, and those of the token that you use',
    'rclaude limits --all-users     of everybody, for administrators',
    "rclaude limits --json | jq '.users[0].usdToday'",
  ])
    .option('--all-users', 'of all users and tokens, for administrators')
    .action(act(world, limits))
}

async function limits(invocation: Invocation, options: { allUsers?: boolean }): Promise<undefined> {
  const { out } = invocation
  const { client } = await invocation.connect()
  const query = options.allUsers === true ? { allUsers: '1' as const } : {}
  const found = await client.call(routes.limits, { query })
  if (out.json) return void (await out.data(found))
  const columns = ['OF', 'RUNNING', 'QUEUED', 'SPENT TODAY', 'SET ASIDE'].map((title) => ({ title }))
  await out.table(columns, [...rowsOf(found), ['all users', countText(found.running), '', '', '']])
  out.note(`a day ends at ${found.resetsAt.slice(0, 16)}Z, midnight UTC`)
}

function rowsOf({ users, tokens }: Allowances): string[][] {
  const row = (of: string, account: Pick<Allowances['users'][number], 'running' | 'queued' | 'usdToday'>) => [
    of,
    countText(account.running),
    countText(account.queued),
    usdText(account.usdToday),
    dollars(account.usdToday.reserved ?? 0),
  ]
  return [
    ...users.map((one) => row(`user ${one.user}`, one)),
    ...tokens.map((one) => row(`token ${one.name} (${one.user})`, one)),
  ]
}

const countText = ({ used, max }: Allowance): string => (max === undefined ? String(used) : `${used} of ${max}`)

const usdText = ({ used, max }: Allowance): string =>
  max === undefined ? dollars(used) : `${dollars(used)} of ${dollars(max)}`

const dollars = (usd: number): string => `$${usd.toFixed(2)}`
