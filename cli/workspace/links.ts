/** Submodules as an index knows them: a path and the commit that is to be there. */
import { splitNul } from './git.ts'

export interface Link {
  /** One character per byte, from the repository's own folder. */
  path: string
  commit: string
}

/** The commits that an index names, as `ls-files -s -z` lists them. */
export const linksIn = (listed: string): Link[] =>
  splitNul(listed).flatMap((line) => {
    const [, commit = '', path = ''] = /^160000 ([0-9a-f]+) \d\t(.*)$/s.exec(line) ?? []
    return path === '' ? [] : [{ path, commit }]
  })
