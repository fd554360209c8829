#!/usr/bin/env node
/**
 * `rclaude`, as it is called: prints the version, or loads the program beside it. Small, since it is compiled anew with every
 * command.
 */
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { VERSION } from '../protocol/version.ts'
import { loadProgram } from './code-cache.ts'
import { cacheDirectory } from './directories.ts'
import type * as Start from './start.ts'

const argv = process.argv.slice(2)
if (argv.length === 1 && (argv[0] === '--version' || argv[0] === '-V')) process.stdout.write(`${VERSION}\n`)
else {
  const programs = dirname(fileURLToPath(import.meta.url))
  const own = { env: process.env, home: homedir(), platform: process.platform }
  const { exports, keep } = loadProgram(join(programs, 'rclaude.cjs'), cacheDirectory(own))
  const { exitCode, command } = await (exports as typeof Start).start({ ...own, argv, programs })
  if (exitCode === 0 && command !== undefined) keep(command)
  process.exit(exitCode) // an idle connection must not hold the terminal
}
