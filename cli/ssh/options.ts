/** What OpenSSH's client must be told to reach a task: as options of one call, and as a block of a configuration file. */

import { join } from 'node:path'
import { shellQuoted } from '../../host/programs.ts'
import type { World } from '../world.ts'
import { hostKeysDirectory, keyFile } from './keys.ts'

/** Names and values as in ssh_config(5). */
export type SshOption = readonly [name: string, value: string]

export interface ProxyChoice {
  /** Options of rclaude that say which gateway. */
  gateway: readonly string[]
  /** A server that was started for this call alone. */
  processId?: string
}

export function sshOptions(world: World, choice: ProxyChoice): SshOption[] {
  return [
    ['ProxyCommand', proxyCommand(world, choice)],
    ['HostKeyAlgorithms', 'ssh-ed25519'],
    ['IdentityFile', quoted(keyFile(world))],
    ['IdentitiesOnly', 'yes'],
    ['UserKnownHostsFile', quoted(join(hostKeysDirectory(world), '%h'), '%h')],
    ['GlobalKnownHostsFile', '/dev/null'],
    // The gateway said which key the task has; anything else is somebody in between.
    ['StrictHostKeyChecking', 'yes'],
    ['UpdateHostKeys', 'no'],
    ['CheckHostIP', 'no'],
  ]
}

/** The user's shell runs it with `exec`, after ssh has put in the host (%h) and the user (%r). */
function proxyCommand(world: World, { gateway, processId }: ProxyChoice): string {
  const words = [process.execPath, join(world.programs, 'rclaude.js'), 'ssh-proxy', ...gateway]
  if (processId !== undefined) words.push('--process', processId)
  return `${words.map((word) => shellQuoted(word).replaceAll('%', '%%')).join(' ')} --user '%r' -- '%h'`
}

/** @param token that is meant to be replaced by ssh */
function quoted(path: string, token?: string): string {
  const plain = token === undefined ? path : path.slice(0, -token.length)
  return `"${plain.replaceAll('%', '%%')}${token ?? ''}"`
}
