/** Creates a task and gives it its files. From then on it needs this program no more. */
import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { RclaudeError } from '../protocol/errors.ts'
import { routes } from '../protocol/routes.ts'
import type { CreateTaskInput, Task } from '../protocol/task.ts'
import { repoRequest } from './repo-credential.ts'
import { awaitsFiles, pushStep, type Sending, snapshotStep } from './send-files.ts'
import { agreeToSend } from './sending.ts'
import { rememberSent, sentBefore } from './sent.ts'
import { surveyedBytes } from './workspace/survey.ts'

const CREATE_TRIES = 4
const CREATE_WAIT_MS = 1_000

export interface Submission extends Sending {
  /** Told as soon as the task is there: sending its files may take its time. */
  onMade(task: Task): void
  /** The model is being asked whether it takes the credentials. Nothing is asked, made or sent before it is settled. */
  accepted: Promise<void>
}

export async function submit(
  submission: Submission,
  finish: (workspace: CreateTaskInput['workspace']) => CreateTaskInput,
): Promise<Task> {
  const { options, accepted } = submission
  if (!options.workspace || options.repo !== undefined) {
    await accepted
    return create(
      submission,
      finish(options.repo === undefined ? { kind: 'none' } : repoRequest(options, undefined).workspace),
    )
  }
  const interrupted = new AbortController()
  const onSignal = () =>
    interrupted.abort(
      new RclaudeError('unavailable', 'interrupted before the task had its files; nothing was launched'),
    )
  process.once('SIGINT', onSignal).once('SIGTERM', onSignal)
  accepted.catch((refusal) => interrupted.abort(refusal))
  try {
    return await submitFiles(submission, finish, interrupted.signal)
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal)
  }
}

async function submitFiles(
  submission: Submission,
  finish: (workspace: CreateTaskInput['workspace']) => CreateTaskInput,
  signal: AbortSignal,
): Promise<Task> {
  const { world, gateway, view, options, accepted } = submission
  let bytes = 0
  await using snapshot = await snapshotStep(submission, {
    signal,
    sentBefore: async (project) => (await sentBefore(world, gateway.url, project))?.commits,
    look: async (survey) => {
      await orAborted(accepted, signal)
      const before = await sentBefore(world, gateway.url, survey.project)
      bytes = surveyedBytes(survey)
      await agreeToSend(world, view, survey, { yes: options.yes, agreedBytes: before?.bytes })
    },
  })
  const { objectFormat, project, heads } = snapshot
  const task = await create(submission, finish({ kind: 'snapshot', objectFormat, project }), signal)
  if (!awaitsFiles(task)) {
    await view.note(`${task.id} has its files already: it was made earlier with this --idempotency-key`)
    return task
  }
  await pushStep(submission, task, snapshot, signal)
  await rememberSent(world, gateway.url, project, { bytes, commits: heads })
  return task
}

/** Who interrupts does not wait for a model server that says nothing. */
function orAborted(settling: Promise<void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) reject(signal.reason)
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
    settling.then(resolve, reject)
  })
}

/** The key makes a repeated request answer with the same task, so a lost answer is no second task. */
async function create(
  { gateway, options, onMade }: Submission,
  body: CreateTaskInput,
  signal?: AbortSignal,
): Promise<Task> {
  const headers = { 'idempotency-key': options.idempotencyKey ?? randomUUID() }
  for (let tries = 1; ; tries++) {
    try {
      const task = await gateway.client.call(routes.createTask, { body, headers, ...(signal && { signal }) })
      onMade(task)
      return task
    } catch (error) {
      const isPassing = error instanceof RclaudeError && error.code === 'unavailable'
      if (!isPassing || tries === CREATE_TRIES) throw error
      await pause(Math.random() * CREATE_WAIT_MS * tries, undefined, { signal })
    }
  }
}
