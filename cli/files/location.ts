/** Where a copy begins or ends: `TASK:PATH` in a task's workspace, a path here, or `-`. */
import { RclaudeError } from '../../protocol/errors.ts'

export type Location =
  | { kind: 'task'; task: string; path: string; contents: boolean }
  | { kind: 'local'; path: string; contents: boolean }
  | { kind: 'stream' }

/** As scp reads it: a colon before the first slash makes it remote, so `./a:b` is a file here. */
export function parseLocation(text: string): Location {
  if (text === '-') return { kind: 'stream' }
  const colon = text.indexOf(':')
  const slash = text.indexOf('/')
  const isRemote = colon > 0 && (slash < 0 || colon < slash)
  const path = isRemote ? text.slice(colon + 1) : text
  const contents = /(^|\/)\.\/?$/.test(path) && path !== '.'
  if (!isRemote) return { kind: 'local', path, contents }
  return { kind: 'task', task: text.slice(0, colon), path: workspacePath(path), contents }
}

/** `TASK` alone is the workspace. */
export function parseTaskPath(text: string): { task: string; path: string } {
  const colon = text.indexOf(':')
  if (colon < 0) return { task: text, path: '' }
  return { task: text.slice(0, colon), path: workspacePath(text.slice(colon + 1)) }
}

/** Relative to the workspace, without `.` and closing slashes. @throws RclaudeError `invalid` for `..` */
export function workspacePath(path: string): string {
  if (path.startsWith('/'))
    throw new RclaudeError(
      'invalid',
      `"${path}" is absolute: paths of a task are relative to its workspace, like src/main.ts`,
    )
  const names = path.split('/').filter((name) => name !== '' && name !== '.')
  if (names.includes('..')) throw new RclaudeError('invalid', `"${path}" leads out of the workspace`)
  return names.join('/')
}

export const joinPath = (directory: string, name: string): string => (directory === '' ? name : `${directory}/${name}`)
export const baseName = (path: string): string => path.slice(path.lastIndexOf('/') + 1)

/** A name that a task tells: it becomes one here, so it must be no more than a name. @throws RclaudeError `forbidden` */
export function checkName(name: string): string {
  if (
    name === '' ||
    name === '.' ||
    name === '..' ||
    /[/\0]/.test(name) ||
    (process.platform === 'win32' && /[\\:]/.test(name))
  )
    throw new RclaudeError(
      'forbidden',
      `the task names a file ${JSON.stringify(name)}, which is no name: it is left out`,
    )
  return name
}
