/**
 * `exec --user`. The work has one user; every process that people start runs as that one. Another is had only where the
 * agent can become it (it is root, inside a container) and the gateway's configuration names it (`agents.execUsers`),
 * root included: whoever may exec could otherwise stop or read the agent, which holds the way to the gateway.
 */
import { readFile } from 'node:fs/promises'
import { RclaudeError } from '../../protocol/errors.ts'
import { AGENT_ENV } from '../../protocol/run.ts'
import type { WorkUser } from './child.ts'

const PASSWD = '/etc/passwd'

export interface Other {
  user: WorkUser
  /** What a login of that user would have. */
  env: Record<string, string>
}

interface Entry extends WorkUser {
  name: string
  home: string
}

/** How the agent stands; for tests. */
export interface Self {
  uid: number
  passwd: string
}

/**
 * @param work the user of the work, when the agent has another than its own
 * @param allowed names from the configuration
 * @returns undefined when `wanted` is the user that the work runs as anyway
 * @throws RclaudeError `invalid` (no such user), `forbidden`
 */
export async function otherUser(
  wanted: string,
  work: WorkUser | undefined,
  allowed: readonly string[],
  self?: Self,
): Promise<Other | undefined> {
  const uid = self?.uid ?? process.getuid?.()
  const own = work?.uid ?? uid
  if (wanted === String(own)) return undefined
  const users = entriesOf(self?.passwd ?? (await readFile(PASSWD, 'utf8').catch(() => '')))
  const found = users.find(({ name }) => name === wanted) ?? users.find((one) => String(one.uid) === wanted)
  if (found?.uid === own) return undefined
  const ownName = users.find((one) => one.uid === own)?.name ?? `uid ${own}`
  if (uid !== 0)
    throw new RclaudeError(
      'forbidden',
      `--user ${wanted}: this task's agent is not root and runs everything as ${ownName}; leave --user out`,
    )
  // By name or by number, as the configuration has it; before it is told whether there is such a user.
  if (!allowed.some((one) => one === wanted || one === found?.name || one === String(found?.uid)))
    throw new RclaudeError(
      'forbidden',
      `--user ${wanted} is not allowed here: processes run as ${ownName}; an administrator can add it to agents.execUsers`,
    )
  if (found === undefined)
    throw new RclaudeError('invalid', `--user ${wanted}: there is no such user in ${PASSWD} of the task's machine`)
  return {
    user: { uid: found.uid, gid: found.gid, hands: work?.hands },
    env: { USER: found.name, LOGNAME: found.name, HOME: found.home },
  }
}

/** The user of the work: what it runs as, and who it is to programs that ask. */
export interface Worker extends WorkUser {
  name: string
}

/**
 * @param wanted name, or number with or without an entry in the list of users; its group may follow a colon
 * @returns undefined when the work runs as the agent does: nothing was asked for, or that is who the agent is
 * @throws RclaudeError `invalid`
 */
export async function workerOf(wanted: string | undefined, self?: Self): Promise<Worker | undefined> {
  if (wanted === undefined || wanted === '') return undefined
  const [user = '', group] = wanted.split(':')
  const users = entriesOf(self?.passwd ?? (await readFile(PASSWD, 'utf8').catch(() => '')))
  const known = users.find(({ name }) => name === user) ?? users.find(({ uid }) => String(uid) === user)
  const uid = known?.uid ?? numberOf(user)
  const gid = group === undefined ? (known?.gid ?? uid) : numberOf(group)
  if (uid === undefined || gid === undefined)
    throw new RclaudeError(
      'invalid',
      `${AGENT_ENV.workUser}=${wanted}: there is no such user in ${PASSWD} of this machine`,
    )
  const own = self?.uid ?? process.getuid?.()
  if (uid === own) return undefined
  if (own !== 0)
    throw new RclaudeError(
      'invalid',
      `${AGENT_ENV.workUser}=${wanted}: this agent is user ${own}, and only root can run the work as another: start the container as root`,
    )
  return { name: known?.name ?? `user${uid}`, uid, gid }
}

const numberOf = (text: string): number | undefined => (/^\d{1,9}$/.test(text) ? Number(text) : undefined)

function entriesOf(passwd: string): Entry[] {
  return passwd.split('\n').flatMap((line) => {
    const [name = '', , uid = '', gid = '', , home = '/'] = line.split(':')
    return /^\d+$/.test(uid) && /^\d+$/.test(gid) ? [{ name, uid: Number(uid), gid: Number(gid), home }] : []
  })
}
