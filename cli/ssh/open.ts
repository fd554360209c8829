/** Has a task start an SSH server for one connection of ours, and writes down the key that it will show. */
import { routes } from '../../protocol/routes.ts'
import { SshSession } from '../../protocol/ssh.ts'
import type { Gateway } from '../api.ts'
import type { World } from '../world.ts'
import { clientKey, writeHostKey } from './keys.ts'

/** @param host as ssh will look it up */
export async function openSsh(world: World, gateway: Gateway, taskId: string, host: string): Promise<SshSession> {
  const publicKey = await clientKey(world)
  const response = await gateway.client.raw(routes.openSsh, {
    params: { taskId },
    rawBody: JSON.stringify({ publicKey }),
    headers: { 'content-type': 'application/json' },
  })
  const session = SshSession.parse(await response.json())
  await writeHostKey(world, host, session.hostKey)
  return session
}
