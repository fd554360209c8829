/** A backup as one file: the system's `tar`, gzipped when the name says so. */
import { spawn } from 'node:child_process'
import { RclaudeError } from '../../protocol/errors.ts'

const MAX_STDERR = 4_000

/** A name that is none of an archive is that of a folder. */
export const isArchive = (name: string): boolean => /\.(tar|tar\.gz|tgz)$/.test(name)
const isZipped = (name: string): boolean => /gz$/.test(name)

/** @param name says the form; the file may have another name while it is made */
export async function pack(directory: string, file: string, name: string): Promise<void> {
  await tar([isZipped(name) ? '-czf' : '-cf', file, '-C', directory, '.'], `cannot write ${name}`)
}

export async function unpack(file: string, directory: string): Promise<void> {
  // Numbers of owners mean nothing here, and GNU tar takes neither absolute paths nor `..`.
  const args = [isZipped(file) ? '-xzf' : '-xf', file, '-C', directory, '--no-same-owner']
  await tar(args, `${file} is damaged or cut off`)
}

async function tar(args: string[], what: string): Promise<void> {
  // `file:name` would mean another machine to GNU tar.
  const local = process.platform === 'linux' ? ['--force-local'] : []
  const child = spawn('tar', [...local, ...args], { stdio: ['ignore', 'ignore', 'pipe'], env: tarEnvironment() })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-MAX_STDERR)
  })
  const code = await new Promise<number | null>((resolve, reject) =>
    child
      .once('close', resolve)
      .once('error', (cause) =>
        reject(
          new RclaudeError('unavailable', `cannot run tar (${cause.message}): install it, or use a folder`, { cause }),
        ),
      ),
  )
  if (code !== 0)
    throw new RclaudeError('invalid', `${what}: ${said.trim().split('\n').join('; ') || `tar ended with ${code}`}`)
}

const tarEnvironment = (): NodeJS.ProcessEnv => ({ PATH: process.env.PATH, LC_ALL: 'C' })
