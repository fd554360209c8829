/** Who commits here, as git would say it: the result's author. */
import { Author } from '../../protocol/task.ts'
import { git, textOf } from './git.ts'

/** Undefined where git knows no name; the task then goes by its owner's. */
export async function gitAuthor(folder: string): Promise<Author | undefined> {
  const { code, stdout } = await git(['var', 'GIT_AUTHOR_IDENT'], { mode: 'user', cwd: folder, answers: [1, 128] })
  const [, name, email] = /^(.+) <([^>]*)> \d+ [+-]\d+$/.exec(textOf(stdout).trim()) ?? []
  const author = Author.safeParse({ name, email })
  return code === 0 && author.success ? author.data : undefined
}
