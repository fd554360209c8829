/** What the work wrote, as the second process reads it. Names are checked: none leads out of the folder that was asked for. */
import { RclaudeError } from '../../protocol/errors.ts'
import type { WorkFile, WorkFiles } from '../files/work-files.ts'
import type { Hands } from './hands.ts'
import { responseTo, textOf } from './response.ts'

/** Of an error's text. */
const MAX_PROBLEM_BYTES = 16 * 1024

export const workFilesOf = (hands: Hands): WorkFiles => ({
  below: async (folder) => (await hands.insist(() => hands.call('filesBelow', { folder }))).names,
  sessionFiles: async (adapter, run) =>
    (await hands.insist(() => hands.call('sessionFiles', { adapter: adapter.name, ...run }))).names,
  open: (path) => hands.insist(() => openBy(hands, path)),
})

async function openBy(hands: Hands, path: string): Promise<WorkFile> {
  const request = await hands.request({ method: 'GET', path: `/file?path=${encodeURIComponent(path)}` })
  const answer = responseTo(request)
  request.end()
  const response = await answer.catch((error: unknown) => {
    throw hands.unavailable(error)
  })
  const size = Number(response.headers['content-length'] ?? Number.NaN)
  if (response.statusCode === 200 && Number.isSafeInteger(size)) return { size, content: response }
  const text = await textOf(response, MAX_PROBLEM_BYTES).catch(() => '')
  throw new RclaudeError('agent_failed', detailOf(text) ?? 'it cannot be read')
}

function detailOf(problem: string): string | undefined {
  try {
    const { detail } = JSON.parse(problem)
    return typeof detail === 'string' ? detail : undefined
  } catch {
    return undefined
  }
}
