/**
 * Trees of git, taken apart and put together without an index: one entry at a path, read, set or removed. Client and agent must
 * agree on how the files of submodules stand in one tree; each brings the git that it runs.
 */

/** Runs git on a repository with `input`; output has one character per byte ('latin1'). */
export type RunGit = (args: string[], input?: Uint8Array) => Promise<string>

export interface TreeEntry {
  mode: string
  type: 'tree' | 'blob' | 'commit'
  id: string
}

interface NamedEntry extends TreeEntry {
  /** One character per byte. */
  name: string
}

export const treeEntry = (id: string): TreeEntry => ({ mode: '040000', type: 'tree', id })
/** How a superproject names the commit of a submodule. */
export const linkEntry = (id: string): TreeEntry => ({ mode: '160000', type: 'commit', id })

/** Undefined when nothing is there. `path` is text, `tree` a tree or a commit. */
export async function entryAt(run: RunGit, tree: string, path: string): Promise<TreeEntry | undefined> {
  let at: TreeEntry | undefined = treeEntry(tree)
  for (const part of partsOf(path)) {
    if (at?.type !== 'tree') return undefined
    at = (await entriesOf(run, at.id)).find(({ name }) => name === part)
  }
  return at
}

/** The tree with that entry at the path, or without any; directories come and go as needed. */
export function withEntry(run: RunGit, tree: string, path: string, entry: TreeEntry | undefined): Promise<string> {
  return replace(run, tree, partsOf(path), entry)
}

async function replace(run: RunGit, tree: string | undefined, parts: string[], entry?: TreeEntry): Promise<string> {
  const [name = '', ...below] = parts
  const entries = tree === undefined ? [] : await entriesOf(run, tree)
  const others = entries.filter((other) => other.name !== name)
  const present = entries.find((other) => other.name === name)
  let next = entry
  if (below.length > 0) {
    const inner = present?.type === 'tree' ? present.id : undefined
    if (inner === undefined && entry === undefined) return tree ?? (await makeTree(run, []))
    const replaced = await replace(run, inner, below, entry)
    next = (await entriesOf(run, replaced)).length > 0 ? treeEntry(replaced) : undefined // git keeps no empty folder
  }
  return await makeTree(run, next === undefined ? others : [...others, { ...next, name }])
}

async function entriesOf(run: RunGit, tree: string): Promise<NamedEntry[]> {
  const lines = (await run(['ls-tree', '-z', tree])).split('\0').filter((line) => line !== '')
  return lines.flatMap((line) => {
    const [, mode = '', type = '', id = '', name = ''] = /^(\d+) (\w+) ([0-9a-f]+)\t(.*)$/s.exec(line) ?? []
    return type === 'tree' || type === 'blob' || type === 'commit' ? [{ mode, type, id, name }] : []
  })
}

/** Git sorts them itself. */
export async function makeTree(run: RunGit, entries: readonly NamedEntry[]): Promise<string> {
  const lines = entries.map(({ mode, type, id, name }) => `${mode} ${type} ${id}\t${name}\0`).join('')
  return (
    await run(
      ['mktree', '-z'],
      Uint8Array.from(lines, (character) => character.charCodeAt(0)),
    )
  ).trim()
}

/** Text as git's bytes, one character each. */
const partsOf = (path: string): string[] =>
  Array.from(new TextEncoder().encode(path), (byte) => String.fromCharCode(byte))
    .join('')
    .split('/')
