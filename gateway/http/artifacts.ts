/** Artifacts, for those who may see the task. */
import { type Handlers, taskOf } from './context.ts'
import { sendStream } from './stream.ts'

export const artifactHandlers: Pick<Handlers, 'listArtifacts' | 'getArtifact'> = {
  listArtifacts: async (call) => call.c.json({ artifacts: await call.deps.artifacts.list(taskOf(call).id) }),
  async getArtifact(call) {
    const { c, deps } = call
    const task = taskOf(call)
    const name = decodeURIComponent(c.req.path.slice(`/v1/tasks/${task.id}/artifacts/`.length))
    const { content, size } = await deps.artifacts.open(task.id, name)
    return sendStream(c, content, {
      'content-type': 'application/octet-stream',
      'content-length': String(size),
      'content-disposition': `attachment; filename*=UTF-8''${encodeURIComponent(name)}`,
    })
  },
}
