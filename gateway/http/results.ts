/** What a task came to: its patch and its transcript. Both work from the gateway alone, container or not. */
import { RclaudeError } from '../../protocol/errors.ts'
import type { TaskEvent } from '../../protocol/event.ts'
import { followEvents } from '../tasks/follow.ts'
import { mustHaveFiles } from '../tasks/pruned.ts'
import { renderMarkdown } from '../tasks/transcript.ts'
import { type Handlers, taskOf } from './context.ts'
import { sendStream, streamText } from './stream.ts'

export const resultHandlers: Pick<Handlers, 'patch' | 'transcript'> = {
  async patch(call) {
    const { c, deps, query } = call
    const task = taskOf(call)
    if (task.spec.workspace.kind === 'none')
      throw new RclaudeError('not_found', `task ${task.id} has no workspace, so no patch`)
    mustHaveFiles(task)
    const refs = await deps.workspaces.refs(task.id)
    const to = query.of === undefined ? (refs.result ?? refs.checkpoint) : refs[query.of]
    if (refs.snapshot === undefined || to === undefined)
      throw new RclaudeError('not_found', `task ${task.id} has saved no ${query.of ?? 'result or checkpoint'} yet`)
    const patch = await deps.workspaces.diff(task.id, { from: refs.snapshot, to, submodule: query.submodule })
    return sendStream(c, patch, { 'content-type': 'text/x-diff; charset=utf-8', etag: `"${to}"` })
  },
  transcript(call) {
    const { c, deps, query } = call
    const task = taskOf(call)
    const read = (signal: AbortSignal) =>
      followEvents(deps.store, task.id, { since: 0, follow: false, limit: undefined, signal, heartbeatMs: 1_000 })
    if (query.format === 'markdown')
      return streamText(c, 'text/markdown', (signal) => renderMarkdown(task, read(signal)))
    return streamText(c, 'application/x-ndjson', async function* (signal) {
      for await (const events of read(signal))
        yield events
          .filter(isSaid)
          .map((event) => `${JSON.stringify(event)}\n`)
          .join('')
    })
  },
}

const isSaid = (event: TaskEvent): boolean => ['turn_started', 'session_update', 'turn_ended'].includes(event.type)
