/** Addresses of attach connections, below a task: `/v1/tasks/T` + this. */
import type { ProcessId } from '../../protocol/ids.ts'
import type { ProcessSpecInput, TerminalSize, ViewerMode } from '../../protocol/process.ts'

/** Where a connection begins. */
export interface AttachPoint {
  processId: ProcessId
  /** False: the process has to be started, unless a connection that was lost did it. */
  started: boolean
  stdout: number
  stderr: number
  terminal?: TerminalPoint
}

export interface TerminalPoint {
  mode: ViewerMode
  /** Ours, the same for every connection. */
  viewer: string
  screen: boolean
  size: TerminalSize
}

/**
 * Path and query to start `spec` and attach, or to attach again. The spec is part of the URL: an environment that holds
 * secrets, or a command of more than a few KiB, is better started with POST /processes and attached to by its id.
 */
export function attachPath(point: AttachPoint, spec?: ProcessSpecInput): string {
  const viewer = point.terminal === undefined ? '' : `&viewer=${point.terminal.viewer}&mode=${point.terminal.mode}`
  if (point.started || spec === undefined)
    return `/processes/${point.processId}/attach?stdout=${point.stdout}&stderr=${point.stderr}${viewer}${screen(point)}`
  const encoded = Buffer.from(JSON.stringify(spec)).toString('base64url')
  return `/processes/attach?id=${point.processId}&spec=${encoded}${viewer}`
}

function screen({ terminal }: AttachPoint): string {
  if (terminal === undefined) return ''
  return `&columns=${terminal.size.columns}&rows=${terminal.size.rows}&screen=${terminal.screen ? 1 : 0}`
}
