/**
 * OpenSSH's server for one connection at a time: `sshd -i` speaks over its standard input and output, as a process that a
 * client attaches to. The task's host key is made once; what else a connection needs lies in a folder that goes with it.
 */
import { execFile } from 'node:child_process'
import { chmod, chown, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { findProgram, foldersOf, SYSTEM_FOLDERS } from '../../host/programs.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import type { SshSession } from '../../protocol/ssh.ts'
import type { WorkUser } from '../processes/child.ts'
import type { ProcessService } from '../processes/service.ts'
import { serverConfig, sessionScript } from './files.ts'

const run = promisify(execFile)

/** sshd as root wants it, and only a service manager or a package's script makes it. */
const PRIVILEGE_SEPARATION_FOLDER = '/run/sshd'
/** Debian, Red Hat, Alpine, and as it was once. */
const SFTP_FOLDERS = ['/usr/lib/openssh', '/usr/libexec/openssh', '/usr/lib/ssh', '/usr/lib/misc', '/usr/libexec']

export interface SshServerOptions {
  /** Ours alone; made when needed. */
  directory: string
  workspace: string
  /** Of the task's work, asked anew for each connection. */
  environment: () => Record<string, string>
  user: WorkUser | undefined
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
    await mkdir(directory, { recursive: true, mode: user === undefined ? 0o700 : 0o711 })
    const hostKey = await this.#makeHostKey()
    if ((user?.uid ?? process.getuid?.()) === 0)
      await mkdir(PRIVILEGE_SEPARATION_FOLDER, { recursive: true, mode: 0o755 })
    const folder = await mkdtemp(join(directory, 'connection-'))
    const discard = () => rm(folder, { recursive: true, force: true }).catch(() => {}) // goes with the placement
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
    const write = async (path: string, text: string, mode: number) => {
      await writeFile(path, text, { mode })
      await own(path, user)
    }
    await Promise.all([
      write(files.authorizedKeys, `${publicKey}\n`, 0o600),
      write(files.session, sessionScript({ workspace, environment: environment(), sftpServer }), 0o700),
      write(config, serverConfig(files), 0o600),
    ])
    await own(folder, user) // only now: nothing is written, and nothing given away, where its user could put a link
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
    const { directory, user } = this.#options
    const keygen = await this.#find('ssh-keygen')
    const file = join(directory, 'host_key')
    await Promise.all([file, `${file}.pub`].map((path) => rm(path, { force: true })))
    await run(keygen, ['-q', '-t', 'ed25519', '-N', '', '-C', 'task', '-f', file])
    await chmod(file, 0o600)
    await own(file, user)
    return (await readFile(`${file}.pub`, 'utf8')).trim()
  }

  async #find(program: string): Promise<string> {
    const folders = foldersOf(this.#options.environment().PATH)
    const found = await findProgram(program, [...folders, ...SYSTEM_FOLDERS])
    if (found !== undefined) return found
    throw new RclaudeError('unsupported', `there is no ${program} in this task: install openssh-server in its image`)
  }
}

async function own(path: string, user: WorkUser | undefined): Promise<void> {
  if (user !== undefined) await chown(path, user.uid, user.gid)
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
