/** The way to a port of a task: bare bytes through its agent, on which the gateway speaks HTTP to the dev server itself. */
import type { Duplex } from 'node:stream'
import { type ListeningPort, ListeningPorts, TCP_UPGRADE } from '../../../protocol/port.ts'
import type { Task } from '../../../protocol/task.ts'
import { requestOver } from '../../../tunnel/http.ts'
import type { Principal } from '../../auth/tokens.ts'
import type { Deps } from '../context.ts'
import { shakeHands } from '../handshake.ts'
import { streamTo } from '../stream-to.ts'

const LIST_TIMEOUT_MS = 2_000
const MAX_LIST_BYTES = 1024 * 1024

const headersOf = ({ user, role }: Principal) => ({ host: 'agent', 'rclaude-user': user, 'rclaude-role': role })

/** @throws RclaudeError `port_refused`, or why the agent cannot be reached */
export async function openPort(deps: Deps, task: Task, port: number, principal: Principal): Promise<Duplex> {
  const stream = await streamTo(deps, task)
  const headers = { ...headersOf(principal), upgrade: TCP_UPGRADE }
  const agent = await shakeHands(stream, `/ports/${port}`, headers, (said) => said.upgrade === TCP_UPGRADE)
  if (agent.head.length > 0) agent.stream.unshift(agent.head)
  agent.stream.on('error', () => {}) // 'close' follows, and whoever uses it hears that
  return agent.stream
}

/** What listens in the task; undefined when its agent does not say so at once. */
export async function listPorts(deps: Deps, task: Task, principal: Principal): Promise<ListeningPort[] | undefined> {
  try {
    const stream = await streamTo(deps, task)
    const timer = setTimeout(() => stream.destroy(), LIST_TIMEOUT_MS)
    try {
      return await new Promise((resolve, reject) => {
        const upstream = requestOver(stream, { path: '/ports', headers: headersOf(principal) })
        upstream.once('error', reject)
        upstream.once('response', async (response) => {
          let text = ''
          try {
            for await (const chunk of response.setEncoding('utf8')) {
              text += chunk
              if (text.length > MAX_LIST_BYTES) throw new Error('too long')
            }
            resolve(ListeningPorts.parse(JSON.parse(text)).ports)
          } catch (error) {
            reject(error)
          }
        })
        upstream.end()
      })
    } finally {
      clearTimeout(timer)
      stream.destroy()
    }
  } catch {
    return undefined
  }
}
