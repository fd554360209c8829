/** The agent's processes and files on a plain server on loopback, in a temporary folder of its own. */
import { mkdir, mkdtemp, readFile, realpath, rm } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { getRequestListener } from '@hono/node-server'
import { Hono } from 'hono'
import { expect } from 'vitest'
import { attachUpgrade } from '../../../agent/http/attach.ts'
import { execRoutes } from '../../../agent/http/exec.ts'
import { type FileRoutesOptions, fileRoutes } from '../../../agent/http/files.ts'
import { onProblem } from '../../../agent/http/problem.ts'
import { processRoutes } from '../../../agent/http/processes.ts'
import type { AgentEnv } from '../../../agent/http/send.ts'
import { syncRoutes } from '../../../agent/http/sync.ts'
import { ProcessService, type ProcessServiceOptions } from '../../../agent/processes/service.ts'

export interface Loopback {
  url: string
  webSocketUrl: string
  workspace: string
  journals: string
  service: ProcessService
  server: Server
  /** Connections to the server, in the order they came. */
  sockets: Set<Socket>
  /** Errors that were no RclaudeError. */
  faults: unknown[]
  close(): Promise<void>
}

export async function startLoopback(
  options: Partial<ProcessServiceOptions> = {},
  files: (root: string) => Partial<FileRoutesOptions> = () => ({}),
): Promise<Loopback> {
  const root = await realpath(await mkdtemp(join(tmpdir(), 'rclaude-agent-')))
  const workspace = options.workspace ?? join(root, 'workspace')
  await mkdir(workspace, { recursive: true })
  const journals = options.directory ?? join(root, 'journals')
  const service = new ProcessService({
    baseEnv: () => ({ PATH: process.env.PATH ?? '/usr/bin:/bin', HOME: workspace }),
    stopGraceMs: 300,
    ...options,
    directory: journals,
    workspace,
  })
  const faults: unknown[] = []
  const onFault = (error: unknown) => faults.push(error)
  const app = new Hono<AgentEnv>()
  app.onError(onProblem({ onFault }))
  app.route('/processes', processRoutes(service))
  app.route('/exec', execRoutes(service))
  app.route('/files', fileRoutes({ root: workspace, uploads: join(root, 'uploads'), ...files(workspace) }))
  app.route('/sync', syncRoutes({ root: workspace }))
  const server = createServer(getRequestListener(app.fetch, { overrideGlobalObjects: false }))
  server.on('upgrade', attachUpgrade(service, { onFault }))
  const sockets = new Set<Socket>()
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    webSocketUrl: `ws://127.0.0.1:${port}`,
    workspace,
    journals,
    service,
    server,
    sockets,
    faults,
    close: async () => {
      await service.close()
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
      await rm(root, { recursive: true, force: true })
    },
  }
}

/** Ends it, and expects that nothing went wrong in it. */
export async function closeSound({ faults, close }: Loopback): Promise<void> {
  await close()
  expect(faults).toEqual([])
}

/** Asks until the answer is true. @throws when it is not within 10 s */
export async function until(what: string, ask: () => boolean | Promise<boolean>, deadlineMs = 10_000): Promise<void> {
  const deadline = Date.now() + deadlineMs
  while (!(await ask())) {
    if (Date.now() > deadline) throw new Error(`not within ${deadlineMs} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** True while the process exists and is no zombie. */
export async function isAlive(pid: number): Promise<boolean> {
  try {
    process.kill(pid, 0)
  } catch {
    return false
  }
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  return stat !== '' && stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3) !== 'Z'
}
