/** Says why a program could not be started. Node answers ENOENT for a missing program and a missing directory alike. */
import { stat } from 'node:fs/promises'
import type { Reason } from '../../protocol/outcome.ts'

export async function spawnFailure(
  error: unknown,
  program: string,
  cwd: string,
): Promise<{ reason: Reason; message: string }> {
  const code = error instanceof Error && 'code' in error ? String(error.code) : String(error)
  if (!(await isDirectory(cwd))) return { reason: 'workspace', message: `the working directory ${cwd} is not there` }
  if (code === 'ENOENT')
    return {
      reason: 'agent_missing',
      message: `${program} was not found: install it where the task runs, or give its path`,
    }
  if (code === 'EACCES')
    return { reason: 'agent_missing', message: `${program} may not be executed: check its permissions (chmod +x)` }
  if (code === 'E2BIG')
    return { reason: 'agent_error', message: `${program} could not start: its arguments and environment are too long` }
  return { reason: 'agent_missing', message: `${program} could not start: ${code}` }
}

async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  )
}
