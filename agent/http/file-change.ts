/** `POST /files/PATH` with JSON: what is neither a whole file nor its end: move, mkdir, symlink. And trees deleted whole. */
import { lstat, mkdir, readdir, rename, rmdir, symlink, unlink } from 'node:fs/promises'
import { RclaudeError } from '../../protocol/errors.ts'
import type { FileOperation } from '../../protocol/file.ts'
import { descriptorPath, findPlace, HAS_PROC, hasCode, joinBytes, openDirectory, quoted } from '../files/tree.ts'
import { serially } from './file-turns.ts'

/** Each level keeps a directory open. */
const MAX_DEPTH = 400

export interface ChangeOptions {
  root: string
}

export async function changeTree(options: ChangeOptions, names: Buffer[], operation: FileOperation): Promise<void> {
  if (names.length === 0) throw new RclaudeError('conflict', 'the workspace itself is not changed')
  switch (operation.op) {
    case 'move':
      return move(options, names, operation)
    case 'mkdir':
      return makeDirectory(options, names, operation.parents)
    case 'symlink':
      return makeSymlink(options, names, operation.target)
    default:
      operation satisfies never
  }
}

type Move = Extract<FileOperation, { op: 'move' }>

async function move({ root }: ChangeOptions, names: Buffer[], { to, toBase64, overwrite }: Move): Promise<void> {
  const target = toBase64 === undefined ? Buffer.from(to ?? '', 'utf8') : Buffer.from(toBase64, 'base64')
  const from = await findPlace(root, names, { followLast: false })
  try {
    if (from.stats === undefined) throw new RclaudeError('not_found', `there is no ${quoted(from.path)} to move`)
    const place = await findPlace(root, namesOfPath(target), { followLast: false })
    try {
      await serially(async () => {
        const present = await lstat(place.path).catch(() => undefined)
        if (present !== undefined && !overwrite)
          throw new RclaudeError(
            'precondition',
            `${quoted(target)} exists already: say "overwrite": true to replace it`,
          )
        await rename(from.path, place.path)
      })
    } finally {
      await place.close()
    }
  } finally {
    await from.close()
  }
}

async function makeDirectory({ root }: ChangeOptions, names: Buffer[], parents: boolean): Promise<void> {
  const place = await findPlace(root, names, { followLast: parents, create: parents })
  try {
    if (parents && place.stats?.isDirectory() === true) return
    await mkdir(place.path, { mode: 0o755 })
  } finally {
    await place.close()
  }
}

async function makeSymlink({ root }: ChangeOptions, names: Buffer[], target: string): Promise<void> {
  const place = await findPlace(root, names, { followLast: false, create: true })
  try {
    await symlink(target, place.path)
  } finally {
    await place.close()
  }
}

/** Each directory is opened without following a link, so that nothing outside is deleted, whoever swaps names meanwhile. */
export async function deleteTree(path: Buffer, depth = 0): Promise<void> {
  if (depth > MAX_DEPTH) throw new RclaudeError('unsupported', 'the tree is too deep to be deleted from here')
  const handle = await openDirectory(path)
  try {
    const here = HAS_PROC ? descriptorPath(handle) : path
    for (const name of await readdir(here, { encoding: 'buffer' })) {
      const child = joinBytes(here, name)
      const stats = await lstat(child).catch(() => undefined)
      if (stats?.isDirectory() === true) await deleteTree(child, depth + 1)
      else await unlink(child).catch(unlessGone)
    }
  } finally {
    await handle.close()
  }
  await rmdir(path).catch(unlessGone)
}

function unlessGone(error: unknown): void {
  if (!hasCode(error, 'ENOENT')) throw error
}

/** Of a path in a request's body: relative to the workspace. @throws RclaudeError `invalid` */
export function namesOfPath(path: Buffer): Buffer[] {
  const parts = path.toString('latin1').replace(/\/+$/, '').split('/')
  if (parts.some((part) => part === '' || part === '.' || part === '..' || part.includes('\0')))
    throw new RclaudeError('invalid', `${quoted(path)} is no path in the workspace: expected one like src/main.ts`)
  return parts.map((part) => Buffer.from(part, 'latin1'))
}
