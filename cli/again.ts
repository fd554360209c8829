/** What `retry` and `continue` share: the secrets that the task needs anew, consent, and watching. */
import type { Command } from 'commander'
import { routes } from '../protocol/routes.ts'
import type { Task } from '../protocol/task.ts'
import type { Gateway } from './api.ts'
import { collect, type Invocation } from './command.ts'
import { isUnsandboxed, requireConsent } from './consent.ts'
import { requireModelAccess } from './credentials.ts'
import { tokenFrom } from './repo-credential.ts'
import { taskLine } from './run-output.ts'
import { openView } from './run-view.ts'
import { parseSecrets } from './variables.ts'
import { watch } from './watch.ts'

export interface AgainOptions {
  secret?: string[]
  repoToken?: string
  detach?: boolean
  unsandboxed?: boolean
}

export const withAgainOptions = (command: Command): Command =>
  command
    .option('--secret <name>', 'as for run: secrets are not kept after a task', collect)
    .option('--repo-token <name>', 'as for run: only when the task never got its private clone')
    .option('-d, --detach', 'print the id of the task and leave')
    .option('--unsandboxed', 'agree, for this call, that the task runs unsandboxed on this machine')

/** Looks at consent and credentials. @returns what to send along */
export async function prepare(
  { world }: Invocation,
  { client }: Gateway,
  task: Task,
  options: AgainOptions,
  readStdin: () => Promise<string>,
): Promise<{ secrets: Record<string, string>; repoToken?: string }> {
  const sources = { env: world.env, readStdin }
  const given = await parseSecrets(options.secret ?? [], sources)
  const repoToken = options.repoToken === undefined ? undefined : await tokenFrom(options.repoToken, sources)
  const info = await client.call(routes.info)
  const model = await requireModelAccess(world, info, {
    agent: task.spec.agent,
    modelProfile: task.spec.modelProfile,
    given,
  })
  await model.accepted
  if (isUnsandboxed(info, task.spec.launcher)) await requireConsent(world, options)
  return { secrets: { ...model.secrets, ...given }, ...(repoToken !== undefined && { repoToken }) }
}

/** @param since events up to this number are the past */
export async function finish(
  { world, globals, out }: Invocation,
  gateway: Gateway,
  task: Task,
  since: number,
  options: AgainOptions,
): Promise<number> {
  if (options.detach === true) {
    await out.line(out.json ? taskLine(task) : task.id)
    return 0
  }
  const view = openView(world, { json: globals.json === true })
  return watch(world, gateway, task.id, view, { since, unasked: 'stop' })
}
