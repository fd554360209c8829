/** The environment of the work: an allow-list of the agent's own, what the task asks for, and nothing else. */
import { join } from 'node:path'
import { AGENT_ENV, INHERITED_ENV, type RunSpec } from '../../protocol/run.ts'

/** Folders of a placement, all below one. */
export interface Directories {
  work: string
  home: string
  /** Journals, events and the private git directory: the agent's own. */
  state: string
  artifacts: string
  /** TMPDIR of the work: goes with the placement. */
  temporary: string
}

export const directoriesOf = (root: string): Directories => ({
  work: join(root, 'work'),
  home: join(root, 'home'),
  state: join(root, 'state'),
  artifacts: join(root, 'artifacts'),
  temporary: join(root, 'tmp'),
})

export interface BaseEnvironment {
  own: NodeJS.ProcessEnv
  directories: Directories
  taskId: string
  launchId: string
}

export function workEnvironment(
  base: BaseEnvironment,
  spec: Pick<RunSpec, 'env' | 'secrets'> | undefined,
): Record<string, string> {
  const inherited = INHERITED_ENV.flatMap((name) => {
    const value = base.own[name]
    return value === undefined ? [] : [[name, value] as const]
  })
  return {
    ...Object.fromEntries(inherited),
    HOME: base.directories.home,
    USER: 'rclaude',
    SHELL: '/bin/sh',
    TERM: 'dumb',
    TMPDIR: base.directories.temporary,
    ...spec?.env,
    ...spec?.secrets,
    RCLAUDE_ARTIFACTS: base.directories.artifacts,
    [AGENT_ENV.taskId]: base.taskId,
    // The launcher finds by this whatever the work left running.
    [AGENT_ENV.launchId]: base.launchId,
  }
}
