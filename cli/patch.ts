/** Reads a git patch line by line: what each line is, and how much changed in which file. */

export interface FileStat {
  path: string
  insertions: number
  deletions: number
  binary: boolean
  /** The submodule that it lies in. */
  submodule?: string
}

export type PatchLine = 'file' | 'hunk' | 'added' | 'removed' | 'context'

export class PatchLines {
  readonly files: FileStat[] = []
  /** Named by a line before its files. */
  private submodule: string | undefined
  /** Lines that the present hunk still has, old and new; inside a hunk a line `--- a` is a removed `-- a`. */
  private oldLeft = 0
  private newLeft = 0

  take(line: string): PatchLine {
    if (this.oldLeft > 0 || this.newLeft > 0) return this.inHunk(line)
    const hunk = /^@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@/.exec(line)
    if (hunk !== null) {
      this.oldLeft = Number(hunk[1] ?? 1)
      this.newLeft = Number(hunk[2] ?? 1)
      return 'hunk'
    }
    if (line.startsWith('\\')) return 'context' // \ No newline at end of file
    this.header(line)
    return 'file'
  }

  private inHunk(line: string): PatchLine {
    const file = this.files.at(-1)
    if (line.startsWith('+')) {
      this.newLeft--
      if (file !== undefined) file.insertions++
      return 'added'
    }
    if (line.startsWith('-')) {
      this.oldLeft--
      if (file !== undefined) file.deletions++
      return 'removed'
    }
    if (!line.startsWith('\\')) {
      this.oldLeft--
      this.newLeft--
    }
    return 'context'
  }

  private header(line: string): void {
    const file = this.files.at(-1)
    const submodule = /^Submodule (.+):$/.exec(line)?.[1]
    if (submodule !== undefined) this.submodule = submodule
    if (line.startsWith('diff --git ')) {
      const inside = this.submodule === undefined ? {} : { submodule: this.submodule }
      this.files.push({ path: pathOf(line), insertions: 0, deletions: 0, binary: false, ...inside })
    } else if (file !== undefined && (line === 'GIT binary patch' || line.startsWith('Binary files '))) {
      file.binary = true
    } else if (file !== undefined && line.startsWith('+++ ') && line !== '+++ /dev/null') {
      file.path = unquote(line.slice(4).replace(/\t$/, '')).replace(/^b\//, '')
    } else if (file !== undefined && line.startsWith('rename to ')) {
      file.path = unquote(line.slice('rename to '.length))
    }
  }
}

/** Both names are the same unless it is a rename, which says so in a line of its own. */
function pathOf(line: string): string {
  const names = line.slice('diff --git '.length)
  const quoted = /"b\/((?:[^"\\]|\\.)*)"$/.exec(names)
  if (quoted !== null) return unquote(`"${quoted[1]}"`)
  const half = (names.length - 1) / 2
  return names.slice(half + 1).replace(/^b\//, '')
}

/** Git quotes odd names as C does, byte by byte. */
function unquote(name: string): string {
  if (!name.startsWith('"') || !name.endsWith('"')) return name
  const bytes: number[] = []
  const escapes: Record<string, number> = { a: 7, b: 8, t: 9, n: 10, v: 11, f: 12, r: 13, '"': 34, '\\': 92 }
  for (const [, octal, letter, other] of name.slice(1, -1).matchAll(/\\([0-7]{3})|\\(.)|([^\\]+)/gs)) {
    if (octal !== undefined) bytes.push(Number.parseInt(octal, 8))
    else if (letter !== undefined) bytes.push(escapes[letter] ?? letter.charCodeAt(0))
    else bytes.push(...Buffer.from(other ?? ''))
  }
  return Buffer.from(bytes).toString('utf8')
}
