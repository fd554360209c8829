/**
 * The native part of a pseudo-terminal: forkpty and TIOCSWINSZ, from node-pty's prebuilt module. The agent is one file that
 * is copied into any container, so its build puts that module beside it; from a source tree it comes from node_modules.
 * It is loaded when a terminal is first asked for: where it cannot be (musl, another platform), all else works.
 */
import { existsSync } from 'node:fs'
import { createRequire as requireFrom } from 'node:module'
import { fileURLToPath } from 'node:url'
import { RclaudeError } from '../../protocol/errors.ts'

export interface PtyBinding {
  fork(
    file: string,
    args: readonly string[],
    env: readonly string[],
    cwd: string,
    columns: number,
    rows: number,
    uid: number,
    gid: number,
    utf8: boolean,
    helperPath: string,
    onExit: (code: number, signal: number) => void,
  ): { fd: number; pid: number; pty: string }
  resize(fd: number, columns: number, rows: number): void
}

const PLATFORM = `${process.platform}-${process.arch}`
const BESIDE = fileURLToPath(new URL(`./pty-${PLATFORM}.node`, import.meta.url))
let loaded: PtyBinding | undefined

/** @throws RclaudeError `unsupported` */
export function ptyBinding(beside = BESIDE): PtyBinding {
  if (loaded !== undefined && beside === BESIDE) return loaded
  const name = existsSync(beside) || beside !== BESIDE ? beside : `@lydell/node-pty-${PLATFORM}/pty.node`
  try {
    const binding = requireFrom(import.meta.url)(name) as PtyBinding
    if (beside === BESIDE) loaded = binding
    return binding
  } catch (error) {
    const why = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error)
    throw new RclaudeError(
      'unsupported',
      `this container has no terminals: pty-${PLATFORM}.node cannot be loaded (${why}); it must lie beside agent.js and ` +
        'needs glibc. Use exec without -t',
      { cause: error },
    )
  }
}
