/**
 * The files of one SSH connection. The server gives a session an environment of its own making and starts it in the user's
 * home; so every session goes through a script that sets the task's environment and goes to the workspace, as `exec` has them.
 */
import { shellQuoted } from '../../host/programs.ts'

/** What the script is asked for when a client wants files (sftp, and scp, which speaks sftp too). */
const SFTP = 'rclaude-sftp'
/** The connection decides these: its terminal, its own variables. */
const OF_THE_CONNECTION = /^(TERM|COLORTERM|PWD|OLDPWD|SHLVL|_|SSH_.*)$/
/** The user's own, sent along by ssh, come before the task's. */
const LOCALE = /^(LANG|LC_[A-Z]+)$/

export interface SshFiles {
  hostKey: string
  authorizedKeys: string
  session: string
}

/** Named as in sshd_config(5). */
export function serverConfig(files: SshFiles): string {
  return `${[
    ['HostKey', path(files.hostKey)],
    ['AuthorizedKeysFile', path(files.authorizedKeys)],
    // What is on the way to these files belongs to others on a shared machine; they lie in a folder of ours alone.
    ['StrictModes', 'no'],
    ['UsePAM', 'no'],
    ['AuthenticationMethods', 'publickey'],
    ['PasswordAuthentication', 'no'],
    ['KbdInteractiveAuthentication', 'no'],
    ['PermitRootLogin', 'prohibit-password'],
    ['PidFile', 'none'],
    ['PrintMotd', 'no'],
    ['PrintLastLog', 'no'],
    ['UseDNS', 'no'],
    ['LogLevel', 'ERROR'],
    ['LoginGraceTime', '60'],
    // A client that vanished is found, although nothing here is a network connection.
    ['ClientAliveInterval', '30'],
    ['ClientAliveCountMax', '10'],
    // An editor opens one session for each of its windows and terminals.
    ['MaxSessions', '100'],
    // Of the task's own loopback, as ports are forwarded; not a way into the network behind it.
    ['AllowTcpForwarding', 'yes'],
    ['PermitOpen', 'localhost:* 127.0.0.1:* [::1]:*'],
    ['PermitListen', 'localhost:* 127.0.0.1:*'],
    ['GatewayPorts', 'no'],
    ['AllowStreamLocalForwarding', 'no'],
    ['X11Forwarding', 'no'],
    ['PermitTunnel', 'no'],
    ['PermitUserRC', 'no'],
    ['AcceptEnv', 'LANG LC_* COLORTERM TERM_PROGRAM TERM_PROGRAM_VERSION'],
    ['Subsystem', `sftp ${SFTP}`],
    ['ForceCommand', `/bin/sh ${shellQuoted(files.session)}`],
  ]
    .map(([name, value]) => `${name} ${value}`)
    .join('\n')}\n`
}

export interface SessionOptions {
  workspace: string
  environment: Readonly<Record<string, string>>
  /** Where it lies, if it is installed. */
  sftpServer: string | undefined
}

/** For a shell, readable by its user alone: the environment holds secrets. */
export function sessionScript({ workspace, environment, sftpServer }: SessionOptions): string {
  const sftp =
    sftpServer === undefined
      ? `echo 'there is no sftp-server in this task: install openssh-sftp-server, or openssh-server, in its image' >&2; exit 127`
      : `exec ${shellQuoted(sftpServer)}`
  return `#!/bin/sh
${exportsOf(environment).join('\n')}
cd ${shellQuoted(workspace)} || exit 1
shell=$(command -v bash || echo /bin/sh)
case "$SSH_ORIGINAL_COMMAND" in
  '') exec "$shell" ;;
  ${SFTP}) ${sftp} ;;
  *) exec "$shell" -c "$SSH_ORIGINAL_COMMAND" ;;
esac
`
}

function exportsOf(environment: Readonly<Record<string, string>>): string[] {
  return Object.entries(environment).flatMap(([name, value]) => {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name) || OF_THE_CONNECTION.test(name)) return []
    const set = `export ${name}=${shellQuoted(value)}`
    return [LOCALE.test(name) ? `[ -n "\${${name}:-}" ] || ${set}` : set]
  })
}

/** `%` begins a token there. */
const path = (text: string): string => `"${text.replaceAll('%', '%%').replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`
