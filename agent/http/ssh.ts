/** `/ssh`: whom to log in as, and a server for one connection. */
import { Hono } from 'hono'
import { OpenSsh } from '../../protocol/ssh.ts'
import type { SshServer } from '../ssh/server.ts'
import { parseBody } from './problem.ts'
import { PROCESS_HEADER } from './processes.ts'
import type { AgentEnv } from './send.ts'

export function sshRoutes(server: Pick<SshServer, 'open' | 'user'>): Hono<AgentEnv> {
  const app = new Hono<AgentEnv>()
  app.get('/', async (c) => c.json({ user: await server.user() }))
  app.post('/', async (c) => {
    const opened = await server.open((await parseBody(c.req.raw, OpenSsh)).publicKey)
    return c.json(opened, 201, { [PROCESS_HEADER]: opened.processId })
  })
  return app
}
