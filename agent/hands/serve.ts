/** The second process (see hands.ts): serves the agent over the socket pair that is its standard output. */
import { stat } from 'node:fs/promises'
import { createServer } from 'node:http'
import { Socket } from 'node:net'
import { getRequestListener } from '@hono/node-server'
import { Hono } from 'hono'
import { findByEnvironment } from '../../host/processes.ts'
import { codeOf } from '../../host/tree/tree.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import { duplexTransport } from '../../tunnel/duplex.ts'
import { serveStreams } from '../../tunnel/http.ts'
import { createTunnel } from '../../tunnel/tunnel.ts'
import { adapters } from '../adapters/registry.ts'
import { ownFiles } from '../files/work-files.ts'
import { fileRoutes } from '../http/files.ts'
import { onProblem, parseBody } from '../http/problem.ts'
import { type AgentEnv, stream } from '../http/send.ts'
import { syncRoutes } from '../http/sync.ts'
import { socketOwners } from '../ports/socket-owners.ts'
import { empty, makeDirectory, removeAll } from '../processes/belongings.ts'
import { killLeftovers } from '../processes/leftovers.ts'
import { programAt } from '../processes/program.ts'
import { among } from '../workspace/among.ts'
import { CALLS, HANDS_WINDOW_BYTES, MAX_NAMES } from './calls.ts'

const STDOUT = 1

/**
 * Resolves when the agent is gone.
 * @param workspace whose files it serves
 * @param uploads where unfinished uploads of files wait
 */
export async function serveHands(workspace: string, uploads: string): Promise<void> {
  const tunnel = createTunnel(duplexTransport(new Socket({ fd: STDOUT, readable: true, writable: true })), {
    side: 'server',
    initialWindowBytes: HANDS_WINDOW_BYTES,
    pingAfterMs: 0, // an agent that is gone closes its end
  })
  const app = new Hono<AgentEnv>()
  const onFault = (error: unknown) =>
    process.stderr.write(`request failed: ${error instanceof Error ? error.stack : error}\n`)
  app.onError(onProblem({ onFault }))
  app.route('/', callRoutes())
  app.route('/files', fileRoutes({ root: workspace, uploads }))
  app.route('/sync', syncRoutes({ root: workspace }))
  const server = createServer({ requestTimeout: 0 }, getRequestListener(app.fetch, { overrideGlobalObjects: false }))
  serveStreams(tunnel, server)
  await tunnel.closed
}

function callRoutes(): Hono<AgentEnv> {
  const app = new Hono<AgentEnv>()
  app.post('/leftovers', async (c) => {
    await killLeftovers(await parseBody(c.req.raw, CALLS.leftovers.input))
    return c.json({})
  })
  app.post('/marked', async (c) => {
    const { name, value } = await parseBody(c.req.raw, CALLS.marked.input)
    return c.json({ pids: await findByEnvironment(name, value) })
  })
  app.post('/socketOwners', async (c) => {
    const { mark, inodes } = await parseBody(c.req.raw, CALLS.socketOwners.input)
    const pids = await findByEnvironment(mark.name, mark.value)
    return c.json({ owners: await socketOwners(new Set(inodes), pids) })
  })
  app.post('/filesBelow', async (c) => {
    const { folder } = await parseBody(c.req.raw, CALLS.filesBelow.input)
    return c.json({ names: (await ownFiles.below(folder)).slice(0, MAX_NAMES) })
  })
  app.post('/sessionFiles', async (c) => {
    const { adapter: name, ...run } = await parseBody(c.req.raw, CALLS.sessionFiles.input)
    const adapter = Object.values(adapters).find((one) => one.name === name)
    return c.json({ names: adapter === undefined ? [] : await ownFiles.sessionFiles(adapter, run) })
  })
  app.post('/makeDirectory', async (c) => {
    const { path, mode } = await parseBody(c.req.raw, CALLS.makeDirectory.input)
    await makeDirectory(path, mode)
    return c.json({})
  })
  app.post('/remove', async (c) => {
    await removeAll((await parseBody(c.req.raw, CALLS.remove.input)).paths)
    return c.json({})
  })
  app.post('/empty', async (c) => {
    await empty((await parseBody(c.req.raw, CALLS.empty.input)).folder)
    return c.json({})
  })
  app.post('/isDirectory', async (c) => {
    const { path } = await parseBody(c.req.raw, CALLS.isDirectory.input)
    const found = await stat(path).catch(() => undefined)
    return c.json({ is: found?.isDirectory() === true })
  })
  app.post('/among', async (c) => {
    const { kind, top, paths } = await parseBody(c.req.raw, CALLS.among.input)
    const found = new Set(await among(kind, top, paths))
    return c.json({ indexes: paths.flatMap((path, index) => (found.has(path) ? [index] : [])) })
  })
  app.post('/program', async (c) => {
    const { file, cwd, path } = await parseBody(c.req.raw, CALLS.program.input)
    try {
      return c.json({ program: programAt(file, cwd, path) })
    } catch (error) {
      return c.json({ code: codeOf(error) })
    }
  })
  app.get('/file', async (c) => {
    const file = await ownFiles.open(c.req.query('path') ?? '').catch((cause: Error) => {
      throw new RclaudeError('not_found', cause.message, { cause })
    })
    return stream(c, { 'content-length': String(file.size) }, async (answer) => {
      for await (const chunk of file.content) await answer.write(chunk)
      return undefined
    })
  })
  return app
}
