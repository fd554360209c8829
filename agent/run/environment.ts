/** The environment of the work: an allow-list of the agent's own, what the task asks for, and nothing else. */
import { mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { proxyVariables } from '../../host/proxy.ts'
import { AGENT_ENV, INHERITED_ENV, type RunSpec } from '../../protocol/run.ts'
import { giveDirectory, openedTo } from '../processes/belongings.ts'
import type { WorkUser } from '../processes/child.ts'

/** Folders of a placement, all below one. */
export interface Directories {
  work: string
  home: string
  /** Journals, events and the agent's git directory: its own. */
  state: string
  artifacts: string
  /** TMPDIR of the work: goes with the placement. */
  temporary: string
  /** Where unfinished uploads of files wait: outside the workspace, on the same disk. */
  uploads: string
  /** Index and objects of the trees that are made from the workspace. */
  private: string
  /** Of its SSH server. */
  ssh: string
}

export const directoriesOf = (root: string): Directories => ({
  work: join(root, 'work'),
  home: join(root, 'home'),
  state: join(root, 'state'),
  artifacts: join(root, 'artifacts'),
  temporary: join(root, 'tmp'),
  uploads: join(root, 'uploads'),
  private: join(root, 'private'),
  ssh: join(root, 'ssh'),
})

/**
 * All but `state` belong to the work. Into `state` its user may go, as far as a folder there lets it, and no further. Before
 * anything of the work runs.
 */
export async function makeDirectories({ state, ...ofTheWork }: Directories, user: WorkUser | undefined): Promise<void> {
  await mkdir(state, { recursive: true, mode: user === undefined ? 0o700 : 0o711 })
  const make = async () => {
    for (const path of Object.values(ofTheWork)) await giveDirectory(path, user)
  }
  await (user === undefined ? make() : openedTo(user, dirname(state), make))
}

export interface BaseEnvironment {
  own: NodeJS.ProcessEnv
  /** Of the work's user, where that is another than the agent's. */
  userName?: string | undefined
  directories: Directories
  taskId: string
  launchId: string
}

export function workEnvironment(
  base: BaseEnvironment,
  spec: Pick<RunSpec, 'env' | 'secrets'> | undefined,
): Record<string, string> {
  const asked = { ...spec?.env, ...spec?.secrets }
  const engineSocket = base.own[AGENT_ENV.engineSocket]
  // A proxy that the task names counts, in whichever of its two forms.
  const isAsked = (name: string) => name.toLowerCase() in asked || name.toUpperCase() in asked
  const inherited = INHERITED_ENV.flatMap((name) => {
    const value = base.own[name]
    return value === undefined || (/_proxy$/i.test(name) && isAsked(name)) ? [] : [[name, value] as const]
  })
  const work = {
    ...Object.fromEntries(inherited),
    HOME: base.directories.home,
    USER: base.userName ?? 'rclaude',
    SHELL: '/bin/sh',
    TERM: 'dumb',
    TMPDIR: base.directories.temporary,
    ...(engineSocket && { DOCKER_HOST: `unix://${engineSocket}` }),
    ...asked,
    RCLAUDE_ARTIFACTS: base.directories.artifacts,
    [AGENT_ENV.taskId]: base.taskId,
    // The launcher finds by this whatever the work left running.
    [AGENT_ENV.launchId]: base.launchId,
  }
  return { ...work, ...proxyVariables(work) }
}
