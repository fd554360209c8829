/** Hands the world to the program, and tells how it went. */
import { EXIT_CODES } from '../protocol/errors.ts'
import { commandIn, runProgram } from './program.ts'
import type { World } from './world.ts'

/** As a shell counts a process that wrote to a closed pipe. */
const BROKEN_PIPE = 128 + 13

export interface Started {
  exitCode: number
  /** The one that was called, if that can be told. */
  command: string | undefined
}

export async function start(own: Pick<World, 'argv' | 'env' | 'home' | 'platform' | 'programs'>): Promise<Started> {
  const command = commandIn(own.argv)
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') process.exit(BROKEN_PIPE) // `rclaude logs | head`
      throw error
    })
  }
  const cwd = currentFolder()
  if (cwd === undefined) {
    process.stderr.write('rclaude: the folder you are in is gone or cannot be read: cd to another one\n')
    return { exitCode: EXIT_CODES.usage, command }
  }
  const { stdin, stdout, stderr } = process
  const exitCode = await runProgram({ ...own, cwd, stdin, stdout, stderr, afterDashes: undefined, exitCode: 0 })
  await Promise.all([stdout, stderr].map(flushed))
  return { exitCode, command }
}

function currentFolder(): string | undefined {
  try {
    return process.cwd()
  } catch {
    return undefined
  }
}

function flushed(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => stream.write('', () => resolve()))
}
