/** Artifacts, for those who may see the task. */
import { mustHaveFiles } from '../tasks/pruned.ts'
import { type Handlers, taskOf } from './context.ts'
import { sendStream } from './stream.ts'

export const artifactHandlers: Pick<Handlers, 'listArtifacts' | 'getArtifact'> = {
  async listArtifacts(call) {
    const task = taskOf(call)
    mustHaveFiles(task)
    return call.c.json({ artifacts: await call.deps.artifacts.list(task.id) })
  },
  async getArtifact(call) {
    const { c, deps } = call
    const task = taskOf(call)
    mustHaveFiles(task)
    const name = decodeURIComponent(c.req.path.slice(`/v1/tasks/${task.id}/artifacts/`.length))
    const { content, size } = await deps.artifacts.open(task.id, name)
    return sendStream(c, content, {
      'content-type': 'application/octet-stream',
      'content-length': String(size),
      'content-disposition': `attachment; filename*=UTF-8''${encodeURIComponent(name)}`,
    })
  },
}
