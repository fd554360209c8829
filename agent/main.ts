#!/usr/bin/env node
/** The agent's process: reads its environment and signals. Everything it prints goes to the launcher's log. */
import '../host/inherited-files.ts'
import '../host/young-generation.ts'
import { AGENT_ENV } from '../protocol/run.ts'
import { VERSION } from '../protocol/version.ts'
import { startAgent } from './agent.ts'
import { serveHands } from './hands/serve.ts'
import { workerOf } from './processes/user.ts'

/** The argument that makes it the second process of an agent (hands/hands.ts); its folders follow. */
const HANDS = '--hands'

async function main(): Promise<void> {
  if (process.argv.includes('--version')) return void process.stdout.write(`${VERSION}\n`)
  if (process.argv[2] === HANDS) {
    const [workspace = '', uploads = ''] = process.argv.slice(3)
    await serveHands(workspace, uploads)
    process.exit(0)
  }
  const joinCode = take(AGENT_ENV.joinCode)
  const worker = await workerOf(process.env[AGENT_ENV.workUser])
  const agent = await startAgent({
    gatewayUrl: take(AGENT_ENV.gatewayUrl),
    taskId: take(AGENT_ENV.taskId),
    launchId: take(AGENT_ENV.launchId),
    directory: take(AGENT_ENV.directory),
    joinCode,
    worker,
    hands: { argv: [process.execPath, process.argv[1] ?? '', HANDS], env: pick(process.env, ['PATH', 'LANG']) },
    env: process.env,
    log: (message) => process.stderr.write(`${new Date().toISOString()} ${message}\n`),
  })
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => {
      void agent.drain({
        outcome: 'interrupted',
        reason: 'infrastructure',
        message: `the agent was told to end (${signal})`,
      })
    })
  await agent.done
  process.exit(0)
}

/** Reads a variable and removes it: what the agent starts later inherits nothing of it. */
function take(name: string): string {
  const value = process.env[name]
  if (value === undefined) throw new Error(`${name} is not set: agents are started by a launcher of the gateway`)
  delete process.env[name]
  return value
}

const pick = (env: NodeJS.ProcessEnv, names: readonly string[]): Record<string, string> =>
  Object.fromEntries(names.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]])))

main().catch((error: unknown) => {
  process.stderr.write(`agent: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exit(1)
})
