/** `rclaude help exit-codes`. */
import { EXIT_CODES } from '../protocol/errors.ts'

const MEANINGS: Record<keyof typeof EXIT_CODES, string> = {
  succeeded: 'the task succeeded (and its check passed, when it has one); the command did its work',
  failed: 'the task failed; some files could not be synced',
  usage: 'the call is not right: an unknown option, a missing value, no such task, no credentials',
  blocked: 'every tool call of the coding agent was denied',
  no_changes: 'the coding agent finished and changed no file',
  budget: 'a limit was reached: on cost or turns, or on tasks that wait, or the budget of the day',
  interrupted: 'the infrastructure took the machine',
  lost: 'the machine of the task disappeared, nobody can say why',
  check_failed: 'the coding agent finished, but the check failed',
  conflict: 'apply or sync left conflicts, or the present state does not allow it',
  timeout: 'the time limit was reached',
  internal: 'a fault of rclaude, or the gateway cannot be reached',
  program_refused: 'exec: the program is there and cannot be executed',
  program_missing: 'exec: there is no such program',
  cancelled: 'the task was stopped',
}

export function exitCodesText(): string {
  const rows = Object.entries(EXIT_CODES).sort(([, a], [, b]) => a - b)
  const lines = rows.map(
    ([name, code]) => `  ${String(code).padStart(3)}  ${name.padEnd(12)}  ${MEANINGS[name as keyof typeof EXIT_CODES]}`,
  )
  return [
    'Exit codes of rclaude',
    '',
    ...lines,
    '',
    '`rclaude exec` and `rclaude attach TASK/PROCESS` pass on the code of the process; 128+n means signal n.',
  ].join('\n')
}
