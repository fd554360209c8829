/**
 * OpenSSH's server for one connection at a time: `sshd -i` speaks over its standard input and output, as a process that a
 * client attaches to. The task's host key is made once; what else a connection needs lies in a folder that goes with it.
 */
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, readFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { findProgram, foldersOf, SYSTEM_FOLDERS } from '../../host/programs.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import type { SshSession } from '../../protocol/ssh.ts'
import type { WorkFiles } from '../files/work-files.ts'
import { giveDirectory, removeOf, writeAs } from '../processes/belongings.ts'
import type { WorkUser } from '../processes/child.ts'
import type { ProcessService } from '../processes/service.ts'
import { serverConfig, sessionScript } from './files.ts'

const run = promisify(execFile)

/** sshd as root wants it, and only a service manager or a package's script makes it. */
const PRIVILEGE_SEPARATION_FOLDER = '/run/sshd'
/** Debian, Red Hat, Alpine, and as it was once. */
const SFTP_FOLDERS = ['/usr/lib/openssh', '/usr/libexec/openssh', '/usr/lib/ssh', '/usr/lib/misc', '/usr/libexec']

export interface SshServerOptions {
  /** The work user's, for nobody else; made when needed. */
  directory: string
  workspace: string
  /** Of the task's work, asked anew for each connection. */
  environment: () => Record<string, string>
  user: WorkUser | undefined
  /** Reads what is in the folder. */
  files: Pick<WorkFiles, 'open'>
  processes: Pick<ProcessService, 'start'>
}

export class SshServer {
  readonly #options: SshServerOptions
  #hostKey: Promise<string> | undefined

  constructor(options: SshServerOptions) {
    this.#options = options
  }

  /** @throws RclaudeError `unsupported` when the task has no OpenSSH, or no name for its user */
  async open(publicKey: string): Promise<SshSession> {
    const { directory, user, processes } = this.#options
    const sshd = await this.#find('sshd')
    const name = await nameOf(user)
    await giveDirectory(directory, user)
    const hostKey = await this.#makeHostKey()
    if ((user?.uid ?? process.getuid?.()) === 0)
      await mkdir(PRIVILEGE_SEPARATION_FOLDER, { recursive: true, mode: 0o755 })
    const folder = join(directory, `connection-${randomBytes(8).toString('hex')}`)
    const discard = () => removeOf(user, [folder]).catch(() => {}) // goes with the placement
    try {
      const config = await this.#writeFiles(folder, publicKey)
      const started = await processes.start(
        { argv: [sshd, '-i', '-e', '-f', config], env: {}, stdin: true, detached: false },
        { attached: true },
      )
      void started.exited.then(discard)
      return { processId: started.id, user: name, hostKey }
    } catch (error) {
      await discard()
      throw error
    }
  }

  /** @throws RclaudeError `unsupported` when there is no name for it */
  user(): Promise<string> {
    return nameOf(this.#options.user)
  }

  async #writeFiles(folder: string, publicKey: string): Promise<string> {
    const { directory, workspace, environment, user } = this.#options
    const files = {
      hostKey: join(directory, 'host_key'),
      authorizedKeys: join(folder, 'authorized_keys'),
      session: join(folder, 'session'),
    }
    const config = join(folder, 'sshd_config')
    const sftpServer = await findProgram('sftp-server', SFTP_FOLDERS)
    await writeAs(user, files.authorizedKeys, `${publicKey}\n`)
    await writeAs(user, files.session, sessionScript({ workspace, environment: environment(), sftpServer }))
    await writeAs(user, config, serverConfig(files))
    return config
  }

  /** The public half. One that could not be made is tried again by the next connection. */
  #makeHostKey(): Promise<string> {
    this.#hostKey ??= this.#generate().catch((error: unknown) => {
      this.#hostKey = undefined
      throw error
    })
    return this.#hostKey
  }

  async #generate(): Promise<string> {
    const { directory, user, files } = this.#options
    const keygen = await this.#find('ssh-keygen')
    const file = join(directory, 'host_key')
    await removeOf(user, [file, `${file}.pub`])
    const as = user && { uid: user.uid, gid: user.gid }
    await run(keygen, ['-q', '-t', 'ed25519', '-N', '', '-C', 'task', '-f', file], { cwd: '/', ...as })
    return (await text((await files.open(`${file}.pub`)).content)).trim()
  }

  async #find(program: string): Promise<string> {
    const folders = foldersOf(this.#options.environment().PATH)
    const found = await findProgram(program, [...folders, ...SYSTEM_FOLDERS])
    if (found !== undefined) return found
    throw new RclaudeError('unsupported', `there is no ${program} in this task: install openssh-server in its image`)
  }
}

/** SSH logs people in by name, so the user needs one. */
async function nameOf(user: WorkUser | undefined): Promise<string> {
  try {
    if (user === undefined) return userInfo().username
  } catch {
    throw nameless(process.getuid?.() ?? -1)
  }
  const accounts = await readFile('/etc/passwd', 'utf8')
  const line = accounts.split('\n').find((account) => account.split(':')[2] === String(user.uid))
  if (line === undefined) throw nameless(user.uid)
  return line.split(':')[0] ?? ''
}

const nameless = (uid: number) =>
  new RclaudeError('unsupported', `the task runs as user ${uid}, who has no name in /etc/passwd, and SSH needs one`)
