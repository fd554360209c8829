/** What a failure looks like: one line on stderr and an exit code, never a stack unless RCLAUDE_DEBUG asks for it. */
import { CommanderError } from 'commander'
import { EXIT_CODES, exitCodeOf, RclaudeError } from '../protocol/errors.ts'
import { neutralise } from './neutralise.ts'
import { variable, type World } from './world.ts'

/**
 * @param command that failed: the exit codes of `exec` belong to the process, and ours among them are few
 * @returns the exit code
 */
export function reportFailure(world: Pick<World, 'stderr' | 'env'>, error: unknown, command?: string): number {
  if (error instanceof CommanderError) return exitCodeOfUsage(error) // commander has printed it
  const { message, requestId } = wordsOf(error)
  const suffix = requestId === undefined ? '' : ` (request ${requestId})`
  world.stderr.write(`rclaude: ${neutralise(message)}${suffix}\n`)
  if (variable(world, 'RCLAUDE_DEBUG') !== undefined) world.stderr.write(`${stackOf(error)}\n`)
  return failureCode(error, command)
}

/** Conflicts, limits and missing credentials are answers that scripts tell apart from faults of ours. */
function failureCode(error: unknown, command: string | undefined): number {
  if (error instanceof RclaudeError && error.code === 'conflict') return EXIT_CODES.conflict
  if (error instanceof RclaudeError && error.code === 'limit' && command !== 'exec') return EXIT_CODES.budget
  if (error instanceof RclaudeError && error.code === 'model_auth_missing') return EXIT_CODES.usage
  if (error instanceof RclaudeError && (error.code === 'program_missing' || error.code === 'program_refused'))
    return EXIT_CODES[error.code]
  return exitCodeOf(error)
}

function exitCodeOfUsage(error: CommanderError): number {
  return error.code === 'commander.helpDisplayed' || error.code === 'commander.version' ? 0 : EXIT_CODES.usage
}

function wordsOf(error: unknown): { message: string; requestId?: string | undefined } {
  if (!(error instanceof RclaudeError)) return { message: error instanceof Error ? error.message : String(error) }
  const [first, ...more] = error.issues ?? []
  const others = first === undefined ? [] : more.map(({ path, message }) => `\n  ${path}: ${message}`)
  return { message: error.message + others.join(''), requestId: error.requestId }
}

function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const cause = error.cause === undefined ? '' : `\ncaused by ${stackOf(error.cause)}`
  return `${error.stack ?? error.message}${cause}`
}
