#!/usr/bin/env node
/**
 * `rclaude`: reads the world, and leaves. Asking for the version loads nothing else; everything else loads `program.ts`,
 * which loads the one command that was called.
 */
import '../host/young-generation.ts'
import { homedir } from 'node:os'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { VERSION } from '../protocol/version.ts'

/** As a shell counts a process that wrote to a closed pipe. */
const BROKEN_PIPE = 128 + 13
/** `EXIT_CODES.usage`; its module loads what no start needs. */
const EXIT_USAGE = 2

const argv = process.argv.slice(2)
if (argv.length === 1 && (argv[0] === '--version' || argv[0] === '-V')) process.stdout.write(`${VERSION}\n`)
else await start()

async function start(): Promise<void> {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') process.exit(BROKEN_PIPE) // `rclaude logs | head`
      throw error
    })
  }
  const cwd = currentFolder()
  if (cwd === undefined) {
    process.stderr.write('rclaude: the folder you are in is gone or cannot be read: cd to another one\n')
    process.exit(EXIT_USAGE)
  }
  const { runProgram } = await import('./program.ts')
  const exitCode = await runProgram({
    argv,
    env: process.env,
    cwd,
    home: homedir(),
    platform: process.platform,
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    programs: dirname(fileURLToPath(import.meta.url)),
    afterDashes: undefined,
    exitCode: 0,
  })
  await Promise.all([process.stdout, process.stderr].map(flushed))
  process.exit(exitCode) // an idle connection must not hold the terminal
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
