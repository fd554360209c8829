/** Paths in URLs as names in bytes, and what the system says of them in our words. */
import type { Context } from 'hono'
import { RclaudeError } from '../../protocol/errors.ts'
import { hasCode } from '../files/tree.ts'
import type { AgentEnv } from './send.ts'

/** The names of the path, as bytes: names need not be UTF-8, and an encoded slash is no separator. */
export function namesOf(c: Context<AgentEnv>, mount: string): Buffer[] {
  const path = (c.env.incoming.url ?? '').split('?', 1)[0] ?? ''
  if (!path.startsWith(mount)) throw new RclaudeError('invalid', 'the path is written in an unusual way')
  const parts = path.slice(mount.length).split('/').slice(1)
  if (parts.at(-1) === '') parts.pop() // a closing slash
  return parts.map(nameOf)
}

function nameOf(part: string): Buffer {
  const latin1 = Buffer.from(part, 'utf8')
    .toString('latin1')
    .replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  if (latin1 === '' || latin1 === '.' || latin1 === '..' || /[/\0]/.test(latin1))
    throw new RclaudeError('invalid', `${JSON.stringify(part)} cannot be a name in a path`)
  return Buffer.from(latin1, 'latin1')
}

export const missing = (path: string) => `there is no ${JSON.stringify(path)} in the workspace`

export const isDiskFull = (error: unknown): boolean => hasCode(error, 'ENOSPC', 'EDQUOT')

/** The system's errors in our words; what is no error of the caller's or the disk's stays a fault. */
export function meaningOf(error: unknown, path: string): unknown {
  const name = JSON.stringify(path)
  if (hasCode(error, 'ENOENT')) return new RclaudeError('not_found', missing(path), { cause: error })
  if (isDiskFull(error))
    return new RclaudeError('disk_full', `no space is left for ${name}; delete something and try again`, {
      cause: error,
    })
  if (hasCode(error, 'EACCES', 'EPERM', 'EROFS'))
    return new RclaudeError('forbidden', `${name} may not be read or changed by the agent`, { cause: error })
  if (hasCode(error, 'ENOTDIR'))
    return new RclaudeError('not_found', `${name} leads through something that is no directory`, { cause: error })
  if (hasCode(error, 'ELOOP'))
    return new RclaudeError('conflict', `${name} changed while it was looked up; try again`, { cause: error })
  if (hasCode(error, 'EISDIR', 'EEXIST', 'ENOTEMPTY', 'EBUSY'))
    return new RclaudeError('conflict', `${name} is a directory, or one that is not empty`, { cause: error })
  if (hasCode(error, 'ENAMETOOLONG', 'EINVAL', 'EILSEQ'))
    return new RclaudeError('invalid', `${name} is no possible name here`, { cause: error })
  if (hasCode(error, 'ENXIO', 'ENODEV'))
    return new RclaudeError('unsupported', `${name} is no regular file or directory`, { cause: error })
  if (hasCode(error, 'EFBIG'))
    return new RclaudeError('too_large', `${name} is too large for this disk`, { cause: error })
  return error
}
