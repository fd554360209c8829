/** An agent's second process, of the program as it is in the sources. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'esbuild'
import { onTestFinished } from 'vitest'
import { Hands } from '../../agent/hands/hands.ts'
import { bundling } from '../../scripts/bundling.mjs'

let built: Promise<string> | undefined

/** Its user's to read; lies there until this process ends. */
export function agentProgram(): Promise<string> {
  built ??= (async () => {
    const folder = mkdtempSync(join(tmpdir(), 'rclaude-hands-'))
    process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
    chmodSync(folder, 0o755)
    const program = join(folder, 'agent.mjs')
    await build({ ...bundling, entryPoints: ['agent/main.ts'], outfile: program, logLevel: 'error' })
    return program
  })()
  return built
}

/** Ends with the test. What the agent says of it is in `said`. */
export function startHands(user: { uid: number; gid: number }, argv: readonly string[], deadAfterMs = 2_000) {
  const said: string[] = []
  const hands = new Hands({
    user: { ...user, name: 'work' },
    argv,
    env: { PATH: process.env.PATH ?? '' },
    log: (line) => void said.push(line),
    deadAfterMs,
  })
  onTestFinished(() => hands.close())
  return { hands, said }
}

/** That user, as the work has it. */
export async function workerWithHands(user: { uid: number; gid: number }) {
  const { hands } = startHands(
    user,
    [process.execPath, await agentProgram(), '--hands', '/nowhere', '/nowhere'],
    10_000,
  )
  return { ...user, hands }
}
