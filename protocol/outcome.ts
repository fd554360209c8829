/** How a task can end, and why. Both lists are closed: scripts switch on them. */
import { z } from 'zod'

export const OUTCOMES = [
  'succeeded',
  'failed',
  'blocked',
  'no_changes',
  'budget',
  'timeout',
  'cancelled',
  'interrupted',
  'lost',
] as const
export const Outcome = z.enum(OUTCOMES)
export type Outcome = z.infer<typeof Outcome>

/** One sentence each, shown by `rclaude show` beside the message that the task carries. */
export const REASONS = {
  completed: 'the coding agent finished its turn, or the command exited with 0',
  exit_code: 'the command exited with a code other than 0',
  agent_error: 'the coding agent reported an error',
  agent_crash: 'the coding agent ended without a result',
  agent_missing: 'the coding agent is not installed where the task ran',
  permission_denied: 'every tool call that the coding agent made was denied',
  model_auth: 'the model refused the credentials',
  model_limit: 'the model refused because of a rate, credit or usage limit',
  model_unavailable: 'the model could not be reached or kept failing',
  max_turns: 'the limit on turns was reached',
  max_budget: 'the limit on cost was reached',
  max_duration: 'the time limit was reached',
  idle: 'nothing happened for longer than the idle limit',
  workspace: 'the workspace could not be received, fetched or saved',
  setup: 'the setup command failed',
  user: 'someone asked for the stop',
  capacity: 'no machine could be had',
  launch: 'the launcher could not start the task',
  start_timeout: 'the agent did not dial in before its deadline',
  placement_gone: 'the container or process ended without a word',
  infrastructure: 'the infrastructure took the machine',
  offline: 'the agent or the gateway was unreachable for longer than allowed',
  internal: 'a fault of rclaude itself',
} as const
export type Reason = keyof typeof REASONS
export const Reason = z.enum(Object.keys(REASONS) as [Reason, ...Reason[]])

export const CheckVerdict = z.enum(['passed', 'failed', 'none'])
export type CheckVerdict = z.infer<typeof CheckVerdict>
