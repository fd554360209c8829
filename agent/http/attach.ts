/**
 * The attach WebSocket, `rclaude.process.v1`.
 *
 *   GET /processes/attach?id=proc_...&spec=BASE64URL(ProcessSpec)   start and attach
 *   GET /processes/proc_.../attach?stdout=N&stderr=N                attach again, from these offsets on
 *   ...&mode=write|read&columns=N&rows=N&viewer=ID                  of a terminal, which has any number of viewers
 *   GET /processes/proc_.../attach?screen=1                         of a terminal: first its screen, then what comes
 *
 * Everything that can be refused is refused before the upgrade, as HTTP. Then: `started`; output and gaps in order of
 * each channel; `exit` after the last byte. Output stops while the client has not acknowledged a window of it. The client
 * closes the connection; until then it may be waiting for its own output to drain.
 */
import type { IncomingMessage } from 'node:http'
import { WebSocketServer } from 'ws'
import { z } from 'zod'
import { RclaudeError } from '../../protocol/errors.ts'
import { ProcessId } from '../../protocol/ids.ts'
import {
  ATTACH_PROTOCOL,
  CLOSE_TAKEN_OVER,
  ProcessSpec,
  STDIN_WINDOW_BYTES,
  TerminalSize,
  ViewerId,
  ViewerMode,
} from '../../protocol/process.ts'
import type { Attachment, ManagedProcess, Offsets } from '../processes/managed-process.ts'
import type { ProcessService } from '../processes/service.ts'
import type { Viewer } from '../terminals/terminal.ts'
import { AttachSession } from './attach-session.ts'
import { type ProblemOptions, parse, refuseUpgrade } from './problem.ts'
import type { UpgradeHandler } from './upgrade.ts'

/** Largest message from a client: standard input comes in pieces of the window at most. */
const MAX_MESSAGE_BYTES = STDIN_WINDOW_BYTES + 1024

const offset = z.coerce.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER).default(0)
const ViewerQuery = z.object({ mode: ViewerMode.default('write'), viewer: ViewerId.optional() })
type ViewerQuery = z.infer<typeof ViewerQuery>
const StartQuery = ViewerQuery.extend({ spec: z.string(), id: ProcessId.optional() })
const cells = z.coerce.number().optional()
const AttachQuery = ViewerQuery.extend({
  stdout: offset,
  stderr: offset,
  screen: z.enum(['0', '1']).default('0'),
  columns: cells,
  rows: cells,
})

/** Serves the two addresses above. */
export function attachUpgrade(service: ProcessService, options: ProblemOptions = {}): UpgradeHandler {
  const webSockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    clientTracking: false,
    maxPayload: MAX_MESSAGE_BYTES,
    handleProtocols: () => ATTACH_PROTOCOL,
  })
  return (request, socket, head) => {
    const onEarlyError = () => socket.destroy()
    socket.on('error', onEarlyError)
    const accept = async () => {
      const found = await target(service, request)
      const { process, since, isNew } = found
      let session: AttachSession | undefined
      const onTaken = () => session?.close(CLOSE_TAKEN_OVER, 'taken over')
      const viewer = join(found, (size) => session?.tellSize(size), onTaken)
      const attachment = viewer === undefined ? process.attach(since, onTaken) : attachmentOf(viewer)
      const onClose = () => {
        attachment.detach()
        if (session === undefined && isNew) void process.stop() // its id was never told: nobody could find it
      }
      if (socket.destroyed) return onClose()
      socket.once('close', onClose)
      webSockets.handleUpgrade(request, socket, head, (webSocket) => {
        socket.off('error', onEarlyError)
        session = new AttachSession({ webSocket, process, since, attachment, viewer, screen: found.screen })
      })
    }
    accept().catch((error: unknown) => refuseUpgrade(socket, error, options))
  }
}

interface Target {
  process: ManagedProcess
  since: Offsets
  /** Started just now, under an id that the client does not know. */
  isNew: boolean
  /** A terminal's screen comes first. */
  screen: boolean
  query: ViewerQuery
  size: TerminalSize | undefined
}

/** @throws RclaudeError `invalid` for offsets that don't exist yet */
function join(
  { process, since, screen, query, size }: Target,
  onSize: (size: TerminalSize) => void,
  onReplaced: () => void,
): Viewer | undefined {
  if (process.terminal === undefined) return undefined
  if (!screen) process.refuseUnlessReached(since)
  return process.terminal.join({ mode: query.mode, name: query.viewer, size, onSize, onReplaced })
}

const attachmentOf = (viewer: Viewer): Attachment => ({
  consumed: ({ stdout }) => viewer.reached(stdout),
  detach: () => viewer.leave(),
})

async function target(service: ProcessService, request: IncomingMessage): Promise<Target> {
  const url = new URL(request.url ?? '/', 'http://agent')
  const query = Object.fromEntries(url.searchParams)
  const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim())
  if (!offered.includes(ATTACH_PROTOCOL))
    throw new RclaudeError(
      'invalid',
      `attach speaks the WebSocket subprotocol ${ATTACH_PROTOCOL}, which was not offered`,
    )

  if (url.pathname === '/processes/attach') {
    const { spec: encoded, id, ...viewer } = parse('the query', StartQuery, query)
    const spec = parse('spec', ProcessSpec, decodeSpec(encoded))
    const process = await service.start(spec, { id, attached: true })
    const since = { stdout: 0, stderr: 0 }
    return { process, since, isNew: id === undefined, screen: false, query: viewer, size: spec.tty }
  }
  const id = /^\/processes\/([^/]+)\/attach$/.exec(url.pathname)?.[1]
  if (id === undefined) throw new RclaudeError('not_found', `there is no WebSocket at ${url.pathname}`)
  const { stdout, stderr, screen, columns, rows, ...viewer } = parse('the query', AttachQuery, query)
  const size = columns === undefined ? undefined : parse('the size', TerminalSize, { columns, rows })
  const since = { stdout, stderr }
  return { process: service.get(id), since, isNew: false, screen: screen === '1', query: viewer, size }
}

function decodeSpec(text: string): unknown {
  try {
    return JSON.parse(Buffer.from(text, 'base64url').toString('utf8'))
  } catch (error) {
    throw new RclaudeError('invalid', 'spec is not base64url of JSON', { cause: error })
  }
}
