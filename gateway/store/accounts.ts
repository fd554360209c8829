/** What the queue and the accounts ask of the store: who waits, who runs, who spent what today. No texts are read for it. */

import type { TaskId, TokenId } from '../../protocol/ids.ts'
import { TokenLimits, utcDay } from '../../protocol/limits.ts'
import { type AgentName, costOfLastTurn, type Turn } from '../../protocol/task.ts'
import type { Database } from '../database.ts'
import type { Store } from './store.ts'

type AccountPart = Pick<Store, 'countQueued' | 'waitingTasks' | 'takenTasks' | 'spentOn' | 'tokenOf' | 'tokenLimits'>

interface WaitingRow {
  id: TaskId
  owner: string
  token_id: TokenId | null
  agent: AgentName | null
  budget_usd: number | null
  not_before: string | null
}

interface TakenRow {
  owner: string
  token_id: TokenId | null
  turns: string
  cost_usd: number
}

/** A cost that no model has: an agent says what its work cost, and its word must not break the sums. */
const MAX_CHARGE_USD = 1_000_000

export function accountTables(database: Database): AccountPart {
  const countQueued = database.prepareValue<[string], number>(
    `SELECT count(*) FROM tasks WHERE state = 'queued' AND owner = ?`,
  )
  // One damaged row must not hide the others: `json_valid` leaves it out.
  const waiting = database.prepare<[], WaitingRow>(
    `SELECT id, owner, token_id, agent, budget_usd, facts ->> '$.notBefore' AS not_before FROM tasks
     WHERE state = 'queued' AND stop_requested IS NULL AND iif(json_valid(facts), facts ->> '$.waitingFor', '') = 'launch'
     ORDER BY n`,
  )
  const taken = database.prepare<[], TakenRow>(
    `SELECT owner, token_id, iif(iif(json_valid(turns), json_type(turns), '') = 'array', turns, '[]') AS turns,
       iif(json_valid(usage), usage ->> '$.costUsd', 0) AS cost_usd
     FROM tasks WHERE state IN ('launching', 'starting', 'running', 'finishing')`,
  )
  const spent = database.prepare<[string], { owner: string; token_id: TokenId | ''; usd: number }>(
    'SELECT owner, token_id, usd FROM spending WHERE day = ?',
  )
  const tokenOf = database.prepareValue<[string], TokenId | null>('SELECT token_id FROM tasks WHERE id = ?')
  const limits = database.prepare<[], { id: TokenId; limits: string }>(
    'SELECT id, limits FROM tokens WHERE limits IS NOT NULL',
  )
  return {
    countQueued: (owner) => countQueued.get(owner) ?? 0,
    waitingTasks: () =>
      waiting.all().map((row) => ({
        id: row.id,
        owner: row.owner,
        tokenId: row.token_id ?? undefined,
        agent: row.agent ?? 'claude',
        budgetUsd: row.budget_usd ?? undefined,
        notBefore: row.not_before ?? undefined,
      })),
    takenTasks: () =>
      taken.all().map((row) => ({
        owner: row.owner,
        tokenId: row.token_id ?? undefined,
        reservedUsd: reserved(JSON.parse(row.turns) as Turn[], row.cost_usd),
      })),
    spentOn: (day) =>
      spent
        .all(day)
        .map(({ owner, token_id, usd }) => ({ owner, tokenId: token_id === '' ? undefined : token_id, usd })),
    tokenOf: (taskId) => tokenOf.get(taskId) ?? undefined,
    tokenLimits: () => new Map(limits.all().map(({ id, limits }) => [id, TokenLimits.parse(JSON.parse(limits))])),
  }
}

/** A turn that has its result costs nothing more. */
function reserved(turns: readonly Turn[], costUsd: number): number {
  const last = turns.at(-1)
  if (last?.budgetUsd === undefined || last.result !== undefined || last.endedAt !== undefined) return 0
  return Math.max(0, last.budgetUsd - costOfLastTurn(turns, costUsd))
}

/** Puts an amount on today's account; part of the transaction that it is called in. */
export function spending(database: Database): (owner: string, tokenId: TokenId | null, usd: number) => void {
  const add = database.prepare(
    `INSERT INTO spending VALUES (?, ?, ?, ?)
     ON CONFLICT (day, owner, token_id) DO UPDATE SET usd = usd + excluded.usd`,
  )
  return (owner, tokenId, usd) => {
    if (usd > 0) add.run(utcDay(Date.now()), owner, tokenId ?? '', Math.min(usd, MAX_CHARGE_USD))
  }
}
