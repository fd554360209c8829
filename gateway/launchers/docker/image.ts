/** The image of a task is on the engine before its container is made; who waits sees how far it is. */
import type Docker from 'dockerode'
import { RclaudeError } from '../../../protocol/errors.ts'
import type { DockerSection } from '../../../protocol/launcher-config.ts'
import { formatBytes } from '../../../protocol/units.ts'
import type { LaunchOptions } from '../launcher.ts'
import { credentialsFor, type Engine, statusOf, wordsOf } from './engine.ts'

/** Each word of progress is stored with the task. */
const TELL_EVERY_MS = 1_000

interface PullEvent {
  id?: string
  status?: string
  error?: string
  progressDetail?: { current?: number; total?: number }
}

/** @throws RclaudeError `invalid` (no such image, or not for us), `unavailable` (the registry does not answer) */
export async function ensureImage(
  engine: Engine,
  image: string,
  pull: DockerSection['pull'],
  { signal, progress }: Pick<LaunchOptions, 'signal' | 'progress'>,
  env: NodeJS.ProcessEnv,
): Promise<void> {
  const docker = await engine.client()
  if (pull !== 'always' && (await isThere(docker, image))) return
  if (pull === 'never')
    throw new RclaudeError(
      'invalid',
      `the image ${image} is not on the Docker engine, and launchers.docker.pull is never: load it there (docker load, docker build), or set it to missing`,
    )
  const name = /[:@][^/]+$/.test(image) ? image : `${image}:latest` // without a tag the engine would pull all of them
  progress(`pulling the image ${name}`)
  try {
    const authconfig = await credentialsFor(name, env)
    await follow(await docker.pull(name, { abortSignal: signal, ...(authconfig && { authconfig }) }), signal, progress)
  } catch (error) {
    signal.throwIfAborted()
    throw refusal(name, error)
  }
}

const isThere = (docker: Docker, image: string): Promise<boolean> =>
  docker
    .getImage(image)
    .inspect()
    .then(
      () => true,
      (error: unknown) => {
        if (statusOf(error) === 404) return false
        throw error
      },
    )

/** A line of JSON for each step of each layer; the last one may be the failure, long after the answer said 200. */
async function follow(
  stream: NodeJS.ReadableStream,
  signal: AbortSignal,
  progress: (text: string) => void,
): Promise<void> {
  const layers = new Map<string, { current: number; total: number }>()
  let toldAt = Date.now()
  let rest = ''
  const end = () => (stream as unknown as { destroy(): void }).destroy()
  signal.addEventListener('abort', end, { once: true })
  try {
    for await (const chunk of stream) {
      const lines = (rest + chunk.toString()).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) take(line)
    }
    take(rest)
    signal.throwIfAborted()
  } finally {
    signal.removeEventListener('abort', end)
  }

  function take(line: string): void {
    if (line.trim() === '') return
    const event = JSON.parse(line) as PullEvent
    if (event.error !== undefined) throw new Error(event.error)
    const { current, total } = event.progressDetail ?? {}
    if (event.id === undefined || event.status !== 'Downloading' || !current || !total) return
    layers.set(event.id, { current, total })
    if (Date.now() - toldAt < TELL_EVERY_MS) return
    toldAt = Date.now()
    const sum = (key: 'current' | 'total') => [...layers.values()].reduce((all, layer) => all + layer[key], 0)
    progress(`pulling the image: ${formatBytes(sum('current'))} of ${formatBytes(sum('total'))}`)
  }
}

function refusal(image: string, error: unknown): unknown {
  const words = wordsOf(error)
  if (/manifest.*(unknown|not found)|not found: manifest|no such image/i.test(words))
    return new RclaudeError('invalid', `there is no image ${image}: the registry knows no such tag`, { cause: error })
  if (/denied|unauthorized|authentication required|no basic auth/i.test(words))
    return new RclaudeError(
      'invalid',
      `the registry does not give out the image ${image} (${words}): it may not exist, or it takes a login: docker login, as the gateway's user`,
      { cause: error },
    )
  if (/timeout|connection refused|no such host|no route|EOF|toomanyrequests|TLS handshake|unreachable/i.test(words))
    return new RclaudeError('unavailable', `the registry of the image ${image} does not answer: ${words}`, {
      cause: error,
    })
  if (statusOf(error) === undefined && (error as NodeJS.ErrnoException).code !== undefined) return error
  return new RclaudeError('invalid', `the image ${image} cannot be pulled: ${words}`, { cause: error })
}
