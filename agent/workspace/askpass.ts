/**
 * How git gets the password of a private clone: it asks a program (GIT_ASKPASS), which reads it from a pipe that only
 * this git command and what it starts have open. It stands in no environment, argument, URL or file; it can be read
 * once; and the program answers for one origin, letter for letter as git asks.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { originOf } from '../../protocol/clone.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import type { GitOptions } from './git.ts'

export interface RepoCredential {
  user: string
  token: string
}

/** Git's question is: Password for 'https://user@host': */
const PROGRAM = `#!/bin/sh
case "$1" in
  "Password for '$RCLAUDE_SCHEME://"*"@$RCLAUDE_HOST': ") exec cat <&3 ;;
esac
exit 1
`

export interface Askpass extends AsyncDisposable {
  /** For the git command that clones. */
  options: Pick<GitOptions, 'env' | 'config' | 'whisper'>
}

/** @param directory the daemon's own; the program lies in it until it is disposed of */
export async function openAskpass(directory: string, url: string, credential: RepoCredential): Promise<Askpass> {
  const origin = originOf(url)
  if (origin === undefined) throw new RclaudeError('invalid', `no token may be sent to ${url}`)
  const folder = join(directory, 'askpass')
  const program = join(folder, 'askpass')
  await mkdir(folder, { recursive: true, mode: 0o700 })
  await writeFile(program, PROGRAM, { mode: 0o700 })
  return {
    options: {
      env: { GIT_ASKPASS: program, RCLAUDE_SCHEME: origin.scheme, RCLAUDE_HOST: origin.host },
      config: [
        [`credential.${origin.scheme}://${origin.host}.username`, credential.user],
        // Whoever is redirected to would be asked on behalf of another: nobody follows.
        ['http.followRedirects', 'false'],
      ],
      whisper: `${credential.token}\n`,
    },
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  }
}
