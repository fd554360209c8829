/** A gateway's configuration with another section in it: all else stays as it was, to the letter. */
import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { Document, isMap, isNode, type Pair, parseDocument, type YAMLMap } from 'yaml'
import { RclaudeError } from '../../protocol/errors.ts'

export interface EditOptions {
  agentUrl?: string
  /** Tasks that name no launcher run there. */
  default?: boolean
  /** Replace the section that is there. */
  force?: boolean
}

/** What stands from one offset to another becomes `text`. */
interface Edit {
  from: number
  to: number
  text: string
}

/**
 * @returns the file's text as it will be, what is new in it, and the keys of the section that go with --force
 * @throws RclaudeError `invalid` when the file is none of YAML, `conflict` when it has the section
 */
export async function editConfig(
  file: string,
  section: object,
  { agentUrl, default: isDefault, force }: EditOptions,
): Promise<{ text: string; written: string; dropped: string[] }> {
  const before = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return ''
    throw new RclaudeError('invalid', `cannot read ${file}: ${error.message}`)
  })
  const root = mapOf(file, before)
  const launchers = pairOf(root, 'launchers')
  const inner = isMap(launchers?.value) ? launchers.value : undefined
  if (inner?.flow === true || root?.flow === true)
    throw new RclaudeError('invalid', `${basename(file)} is written with braces: add what --dry-run prints by hand`)
  const known = pairOf(inner, 'ecs')
  if (known !== undefined && force !== true)
    throw new RclaudeError('conflict', `${basename(file)} has launchers.ecs already: --force replaces it`)

  const edits: Edit[] = []
  const old = pairOf(inner, 'default')
  if (isDefault === true && old !== undefined)
    edits.push({ ...extentOf(old), text: yamlOf({ default: 'ecs' }).trimEnd() })
  const added = {
    ...(isDefault === true && old === undefined && { default: 'ecs' }),
    ...(known === undefined && { ecs: section }),
  }
  if (launchers === undefined) edits.push(append(before, yamlOf({ launchers: added })))
  else {
    const indent = inner?.items[0] === undefined ? 2 : columnOf(before, startOf(inner.items[0]))
    if (known !== undefined) edits.push({ ...extentOf(known), text: indented({ ecs: section }, indent).trim() })
    if (Object.keys(added).length > 0) {
      const below = lineAfter(before, startOf(launchers))
      const text = `${before[below - 1] === '\n' ? '' : '\n'}${indented(added, indent)}`
      edits.push({ from: below, to: below, text })
    }
  }
  const url = pairOf(root, 'agentUrl')
  if (agentUrl !== undefined && url !== undefined)
    edits.push({ ...extentOf(url), text: yamlOf({ agentUrl }).trimEnd() })
  else if (agentUrl !== undefined) edits.push(append(before, yamlOf({ agentUrl })))
  const had = isMap(known?.value) ? known.value.items.map(({ key }) => String(key)) : []
  return {
    text: applied(before, edits),
    written: yamlOf({ launchers: { ecs: section } }),
    dropped: had.filter((key) => !(key in section)),
  }
}

function mapOf(file: string, text: string): YAMLMap | undefined {
  const { errors, contents } = parseDocument(text)
  const [broken] = errors
  if (broken !== undefined) throw new RclaudeError('invalid', `${file}: ${broken.message.split('\n')[0]}`)
  if (contents === null) return undefined
  if (isMap(contents)) return contents
  throw new RclaudeError('invalid', `${file} is no configuration: it holds no keys`)
}

const pairOf = (map: YAMLMap | undefined, key: string): Pair | undefined =>
  map?.items.find((pair) => String(pair.key) === key)

const startOf = ({ key }: Pair): number => (isNode(key) ? (key.range?.[0] ?? 0) : 0)

/** Without the comments behind it. */
const extentOf = (pair: Pair): { from: number; to: number } => ({
  from: startOf(pair),
  to: isNode(pair.value) ? (pair.value.range?.[1] ?? 0) : startOf(pair),
})

const columnOf = (text: string, at: number): number => at - (text.lastIndexOf('\n', at - 1) + 1)

function lineAfter(text: string, at: number): number {
  const end = text.indexOf('\n', at)
  return end < 0 ? text.length : end + 1
}

const append = (text: string, more: string): Edit => ({
  from: text.length,
  to: text.length,
  text: text === '' || text.endsWith('\n') ? more : `\n${more}`,
})

const yamlOf = (value: object): string => new Document(value).toString({ lineWidth: 0 })

const indented = (value: object, by: number): string => yamlOf(value).replace(/^(?=.)/gm, ' '.repeat(by))

/** From the last to the first, so that what is before stays where it is. */
function applied(text: string, edits: readonly Edit[]): string {
  let changed = text
  for (const { from, to, text: more } of [...edits].sort((a, b) => b.from - a.from)) {
    const isCut = changed.slice(from, to).endsWith('\n') && !more.endsWith('\n')
    changed = changed.slice(0, from) + more + (isCut ? '\n' : '') + changed.slice(to)
  }
  return changed
}
