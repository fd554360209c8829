/**
 * What `rclaude run --json` prints (and `attach`, `continue`, `retry`): one JSON value a line. The first line says which
 * task it is and which edition of this format follows; then come the task's events as they happen; the last line is the
 * task as it was at the end, with the exit code. A program that is ended by a signal prints no last line. With --detach
 * there is the last line alone.
 *
 * `docs/run-json.schema.json` is made from this by `npm run schema`. New members may come within an edition: ignore those
 * that you do not know. What is removed or changes its meaning makes a new edition.
 */
import { z } from 'zod'
import { TaskEvent } from './event.ts'
import { TaskId } from './ids.ts'
import { Task } from './task.ts'

export const RUN_OUTPUT_EDITION = 'rclaude.run/1'

export const RunStart = z.object({
  type: z.literal('run'),
  schema: z.literal(RUN_OUTPUT_EDITION),
  taskId: TaskId,
  /** Release of rclaude. */
  version: z.string(),
})

export const RunEnd = z.object({
  type: z.literal('task'),
  schema: z.literal(RUN_OUTPUT_EDITION),
  task: Task,
  /** What the program exits with; absent when it leaves before the task has ended. */
  exitCode: z.number().int().min(0).max(255).optional(),
})

export const RunLine = z.union([RunStart, RunEnd, TaskEvent])
export type RunLine = z.infer<typeof RunLine>

/** As JSON Schema, for those who check with something else. */
export function runOutputSchema(): Record<string, unknown> {
  return {
    title: 'One line of rclaude run --json',
    ...z.toJSONSchema(RunLine, {
      io: 'output',
      target: 'draft-2020-12',
      unrepresentable: 'any',
      reused: 'ref',
      // Members that are new must not make an old reader fail.
      override: ({ jsonSchema }) => {
        if (jsonSchema.additionalProperties === false) delete jsonSchema.additionalProperties
      },
    }),
  }
}
