/** Ports as they are written on the command line, the way kubectl and ssh have them. */
import { RclaudeError } from '../../protocol/errors.ts'
import { ForwardHost } from '../../protocol/port.ts'
import type { Remote } from './carry.ts'

export interface ForwardSpec {
  /** 0 for a free one. */
  local: number
  remote: Remote
  /** The local port was not named: it is the remote's. */
  isSame: boolean
}

export interface ReverseSpec {
  /** In the task; 0 for a free one. */
  remote: number
  /** Here. */
  local: number
}

/** `3000`, `8080:80`, `0:5432`, `:5432`, `5432:db.internal:5432`, `[::1]` in brackets. @throws {RclaudeError} `invalid` */
export function parseForward(text: string): ForwardSpec {
  const [, local, host, remote] = /^(?:(\d*):)?(?:(\[[^\]]+\]|[^:[\]]+):)?(\d+)$/.exec(text) ?? []
  if (remote === undefined || (host !== undefined && local === undefined)) throw unreadable(text)
  const port = portIn(text, remote, 1)
  return {
    local: local === undefined ? port : portIn(text, local === '' ? '0' : local, 0),
    remote: { port, ...(host !== undefined && { host: hostIn(text, host) }) },
    isSame: local === undefined,
  }
}

/** `3000`, `8080:3000`, `0:3000`. @throws {RclaudeError} `invalid` */
export function parseReverse(text: string): ReverseSpec {
  const [, remote, local] = /^(?:(\d*):)?(\d+)$/.exec(text) ?? []
  if (local === undefined)
    throw new RclaudeError('invalid', `-R ${text}: expected [PORT_IN_THE_TASK:]PORT_HERE, such as 8080:3000`)
  const port = portIn(text, local, 1)
  return { remote: remote === undefined ? port : portIn(text, remote === '' ? '0' : remote, 0), local: port }
}

/** `1080`, `0`. */
export const parseSocks = (text: string): number => {
  if (!/^\d+$/.test(text)) throw new RclaudeError('invalid', `-D ${text}: expected a local port, such as 1080`)
  return portIn(text, text, 0)
}

function portIn(text: string, digits: string, lowest: number): number {
  const port = Number(digits)
  if (port >= lowest && port <= 65_535) return port
  throw new RclaudeError('invalid', `"${text}": ${digits} is no port; ports go from 1 to 65535`)
}

function hostIn(text: string, host: string): string {
  const parsed = ForwardHost.safeParse(host.replace(/^\[(.*)\]$/, '$1').toLowerCase())
  if (!parsed.success) throw unreadable(text)
  return parsed.data
}

const unreadable = (text: string) =>
  new RclaudeError('invalid', `"${text}" is no forward: expected PORT, LOCAL:PORT or LOCAL:HOST:PORT, such as 8080:80`)
