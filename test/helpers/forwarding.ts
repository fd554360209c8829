/** A world with a task whose ports are forwarded by the real CLI, and servers for it: the machine is the task's own. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import type { Readable } from 'node:stream'
import { onTestFinished } from 'vitest'
import { eventually } from './eventually.ts'
import { stopTasksAfterwards } from './stop-tasks.ts'
import { type CliResult, startWorld, type World } from './world.ts'

export interface Forwarding {
  /** The local port of each line of `forward --json`, in order. */
  ports: number[]
  /** Ends it by Ctrl-C. */
  stop(): Promise<CliResult>
  result: Promise<CliResult>
  stderr(): string
}

export async function idleTask(world: World, more: { forwardHosts?: string[]; token?: string } = {}): Promise<string> {
  const { token, ...spec } = more
  const { id } = await world.createTask(
    { agent: 'command', command: ['sleep', '600'], workspace: { kind: 'none' }, ...spec },
    token,
  )
  await world.state(id, 'running')
  return id
}

export async function startForwardingWorld(
  settings: Record<string, string> = {},
  onStarted: (world: World) => void = () => {},
) {
  const world = await startWorld({ settings })
  onStarted(world)
  stopTasksAfterwards(world)
  return { world, taskId: await idleTask(world) }
}

/**
 * Runs until the test ends; resolves when all it was asked for is there.
 * @param onSaid told all of its stderr so far
 */
export async function forward(
  world: World,
  args: string[],
  env: Record<string, string> = world.asAdmin,
  onSaid: (stderr: string) => void = () => {},
): Promise<Forwarding> {
  const { process: child, result } = world.startCli(['forward', '--json', ...args], { env })
  onTestFinished(() => void child.kill('SIGKILL'))
  let stdout = ''
  let stderr = ''
  child.stdout?.on('data', (text) => {
    stdout += text
  })
  child.stderr?.on('data', (text) => {
    stderr += text
    onSaid(stderr)
  })
  const wanted = args.filter((arg) => /^\d*:?\d+$/.test(arg) || arg.includes(':')).length
  const lines = () => stdout.split('\n').filter(Boolean)
  const early = result.then(({ code }) => {
    throw new Error(`forward ended with ${code}: ${stderr}`)
  })
  early.catch(() => {})
  await Promise.race([early, eventually('everything is forwarded', () => lines().length >= wanted)])
  return {
    ports: lines().map((line) => {
      const said = JSON.parse(line) as { type: string; port: number; remote: { port: number } }
      return said.type === 'reverse' ? said.remote.port : said.port
    }),
    result,
    stderr: () => stderr,
    stop() {
      child.kill('SIGINT')
      return result
    },
  }
}

/** A TCP server until the test ends. */
export async function serve(onConnection: (socket: Socket) => void, host = '127.0.0.1', port = 0): Promise<number> {
  const sockets = new Set<Socket>()
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => sockets.delete(socket))
    onConnection(socket)
  })
  server.listen(port, host)
  await once(server, 'listening')
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

export async function dial(port: number, host = '127.0.0.1'): Promise<Socket> {
  const socket = connect({ port, host, allowHalfOpen: true })
  onTestFinished(() => void socket.destroy())
  await once(socket, 'connect')
  socket.on('error', () => {})
  return socket
}

/** Of all that comes; the other half stays open. */
export async function sha256Of(stream: Readable): Promise<string> {
  const hash = createHash('sha256')
  for await (const bytes of stream.iterator({ destroyOnReturn: false })) hash.update(bytes)
  return hash.digest('hex')
}

export async function textOf(stream: Readable): Promise<string> {
  const pieces: Buffer[] = []
  for await (const bytes of stream.iterator({ destroyOnReturn: false })) pieces.push(bytes)
  return Buffer.concat(pieces).toString()
}

/** Bytes that compress badly and repeat nowhere near. */
export function noise(bytes: number): Buffer {
  const content = Buffer.alloc(bytes)
  for (let at = 0; at + 4 <= bytes; at += 4) content.writeUInt32LE((at * 2654435761) >>> 0, at)
  return content
}

/** Resolves with `reset` or `end`, whichever the other side did. */
export function endingOf(socket: Socket): Promise<'reset' | 'end'> {
  socket.resume()
  return new Promise((resolve) => {
    socket.once('error', () => resolve('reset'))
    socket.once('end', () => resolve('end'))
  })
}
