/**
 * Says how a run of Claude Code ended. The exit code is no help: a run whose every tool call was denied exits with 0, and
 * so does an interrupted one; a refusal of the model is a `result` of subtype `success` with `is_error`.
 */
import type { Usage } from '../../protocol/event.ts'
import type { ProcessExit } from '../../protocol/process.ts'
import type { AdapterResult } from './adapter.ts'
import type { ResultLine } from './claude-lines.ts'
import type { Tally } from './claude-tally.ts'

export interface ClaudeEnd {
  tally: Tally
  exit: ProcessExit
  /** Last words on standard error. */
  stderr: string
  /** Someone called stop(). */
  stopped: boolean
  /** The adapter itself ended it: the model kept refusing the credentials. */
  authRefused: boolean
  permissionMode: string
  /** What set the limit on cost, when it was not the user. */
  budgetKey?: string | undefined
}

export function outcomeOf(end: ClaudeEnd): AdapterResult {
  const { tally, exit } = end
  const { result } = tally
  const facts = {
    usage: tally.usage(),
    exitCode: exit.code,
    ...(tally.costUnknown() && !end.authRefused && { costUnknown: true }),
    ...(tally.sessionId !== undefined && { sessionId: tally.sessionId }),
    ...(result?.result !== undefined && !result.is_error && { summary: result.result }),
  }
  return { ...verdictOf(end, facts.usage), ...facts }
}

type Verdict = Pick<AdapterResult, 'outcome' | 'reason' | 'message'>

function verdictOf(end: ClaudeEnd, usage: Usage): Verdict {
  const { result } = end.tally
  if (end.authRefused) return modelAuth('the model answered 401 again and again')
  if (result === undefined) return end.stopped ? cancelled() : crashed(end)
  if (result.subtype === 'error_max_turns') return maxTurns(usage)
  if (result.subtype === 'error_max_budget_usd') return maxBudget(result, usage, end.budgetKey)
  if (!result.is_error && result.subtype === 'success') return blockedOrDone(end)
  return end.stopped ? cancelled() : modelTrouble(result)
}

function blockedOrDone({ tally, permissionMode }: ClaudeEnd): Verdict {
  const { calls, denied } = tally
  const isBlocked = calls.size > 0 && [...calls.keys()].every((id) => denied.has(id))
  if (!isBlocked) return { outcome: 'succeeded', reason: 'completed', message: 'Claude finished' }
  const tools = [...new Set(calls.values())].join(', ')
  return {
    outcome: 'blocked',
    reason: 'permission_denied',
    message: `every tool call (${tools}) was denied in permission mode ${permissionMode}; use --permission-mode acceptEdits or bypassPermissions`,
  }
}

/** What the model, or the way to it, answered. Words count only where no status says it. */
function modelTrouble(result: ResultLine): Verdict {
  const text = (result.result ?? result.errors.join('; ')).trim() || `Claude reported ${result.subtype}`
  const status = result.api_error_status ?? 0
  if (status === 401 || status === 403) return modelAuth(text)
  if (status === 429 || status === 402) return modelLimit(text)
  if (status >= 500 || result.api_error === 'connection_failed') return modelUnavailable(text)
  if (/credit balance|usage limit|rate limit|limit reached|quota|billing|spend(ing)? limit/i.test(text))
    return modelLimit(text)
  if (/api key|not logged in|\/login|authenticat|oauth token/i.test(text)) return modelAuth(text)
  if (/overloaded|connection|ECONN|ENOTFOUND|ETIMEDOUT|timed out|fetch failed/i.test(text))
    return modelUnavailable(text)
  return { outcome: 'failed', reason: 'agent_error', message: text }
}

const modelAuth = (text: string): Verdict => ({
  outcome: 'failed',
  reason: 'model_auth',
  message: `${text}; check ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN`,
})
const modelLimit = (text: string): Verdict => ({ outcome: 'failed', reason: 'model_limit', message: text })
const modelUnavailable = (text: string): Verdict => ({ outcome: 'failed', reason: 'model_unavailable', message: text })
const cancelled = (): Verdict => ({ outcome: 'cancelled', reason: 'user', message: 'Claude was stopped' })

const maxTurns = (usage: Usage): Verdict => ({
  outcome: 'budget',
  reason: 'max_turns',
  message: `the limit on turns was reached after ${usage.turns}; continue with a higher --max-turns`,
})

const maxBudget = (result: ResultLine, usage: Usage, key = '--budget'): Verdict => ({
  outcome: 'budget',
  reason: 'max_budget',
  message: `${result.errors[0] ?? 'the limit on cost was reached'}, spent $${usage.costUsd.toFixed(2)}; ${key === '--budget' ? 'continue with a higher --budget' : `the limit is that of ${key}`}`,
})

function crashed({ exit, stderr }: ClaudeEnd): Verdict {
  const how = exit.signal === null ? `exit code ${exit.code}` : `signal ${exit.signal}`
  const words = stderr === '' ? 'it said nothing on standard error' : stderr
  return { outcome: 'failed', reason: 'agent_crash', message: `Claude ended without a result (${how}): ${words}` }
}
