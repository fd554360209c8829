/** A client that follows a watch: what it believes is there, from what it was told alone. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { FileChange } from '../../../protocol/watch.ts'

export class Mirror {
  readonly paths = new Map<string, string>()

  /** @throws when a change does not fit what was told before */
  apply(changes: readonly FileChange[]): void {
    for (const change of changes) this.#apply(change)
  }

  relist(directory: string): void {
    this.paths.clear()
    for (const [path, type] of treeOf(directory)) this.paths.set(path, type)
  }

  #apply({ kind, path, from, type }: FileChange): void {
    if (kind === 'deleted') this.#remove(path)
    else if (kind === 'renamed') this.#rename(from ?? '', path)
    else if (kind === 'created') this.paths.set(path, type)
    else if (!this.paths.has(path)) throw new Error(`modified, but unknown: ${path}`)
  }

  #remove(path: string): void {
    if (!this.paths.has(path)) throw new Error(`deleted, but unknown: ${path}`)
    for (const one of [...this.paths.keys()]) if (one === path || one.startsWith(`${path}/`)) this.paths.delete(one)
  }

  #rename(from: string, to: string): void {
    if (!this.paths.has(from)) throw new Error(`renamed, but unknown: ${from}`)
    const moved = [...this.paths].filter(([path]) => path === from || path.startsWith(`${from}/`))
    for (const [path] of moved) this.paths.delete(path)
    if (this.paths.has(to)) this.#remove(to)
    for (const [path, type] of moved) this.paths.set(to + path.slice(from.length), type)
  }
}

/** Paths with their types, as a mirror has them. */
export function treeOf(directory: string): [string, string][] {
  return readdirSync(directory, { recursive: true, withFileTypes: true }).map((entry) => [
    join(entry.parentPath, entry.name).slice(directory.length + 1),
    entry.isDirectory() ? 'directory' : entry.isSymbolicLink() ? 'symlink' : 'file',
  ])
}

export const sorted = (paths: Iterable<[string, string]>): string[] => Array.from(paths, (one) => one.join(' ')).sort()
