/** A project that wants containers, in a task that has no engine for them: said at once, not by the first test that hangs. */
import { join } from 'node:path'
import { exists } from '../../host/exists.ts'
import { findProgram, foldersOf } from '../../host/programs.ts'

/** As `docker compose` looks for them. */
const NAMES = ['compose.yaml', 'compose.yml', 'docker-compose.yaml', 'docker-compose.yml']

/** @param env of the work. @returns undefined when there is no such file, or there is an engine */
export async function composeWarning(
  cwd: string,
  env: Record<string, string>,
  socket = '/var/run/docker.sock',
): Promise<string | undefined> {
  const { DOCKER_HOST, DOCKER_CONTEXT, CONTAINER_HOST, XDG_RUNTIME_DIR, PATH } = env
  if (DOCKER_HOST || DOCKER_CONTEXT || CONTAINER_HOST) return undefined
  const found = await firstOf(NAMES, (name) => exists(join(cwd, name)))
  if (found === undefined) return undefined
  const sockets = [socket, ...(XDG_RUNTIME_DIR ? [join(XDG_RUNTIME_DIR, 'docker.sock')] : [])]
  if ((await firstOf(sockets, exists)) !== undefined) return undefined
  if ((await findProgram('podman', foldersOf(PATH))) !== undefined) return undefined
  return `${found} wants Docker, which is not here (on Fargate it cannot be): --docker gives a task an engine of its own where the launcher offers one, --env DOCKER_HOST=... one elsewhere`
}

async function firstOf<T>(all: readonly T[], is: (one: T) => Promise<boolean>): Promise<T | undefined> {
  for (const one of all) if (await is(one)) return one
  return undefined
}
