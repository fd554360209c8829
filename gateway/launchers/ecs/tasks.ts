/** Tasks of the cluster, as ECS lists and describes them: page by page, and with what it says twice left out. */
import type { ListTasksCommandOutput, Task } from '@aws-sdk/client-ecs'
import { chunksOf } from '../../../host/chunks.ts'
import type { EcsApi } from './api.ts'

const MAX_DESCRIBED = 100

export class Tasks {
  readonly #api: EcsApi
  readonly #cluster: string

  constructor(api: EcsApi, cluster: string) {
    this.#api = api
    this.#cluster = cluster
  }

  /** Those that run, or are meant to. @param startedBy theirs alone; otherwise everybody's in this cluster */
  async alive(startedBy?: string): Promise<Task[]> {
    const arns = new Set<string>() // a page may repeat one of the page before
    let nextToken: string | undefined
    do {
      const page: ListTasksCommandOutput = await this.#api.call('read', 'ListTasks', (ecs, options) =>
        ecs.listTasks(
          { cluster: this.#cluster, ...(startedBy && { startedBy }), ...(nextToken && { nextToken }) },
          options,
        ),
      )
      for (const arn of page.taskArns ?? []) arns.add(arn)
      nextToken = page.nextToken
    } while (nextToken !== undefined)
    return (await this.describe([...arns])).filter(
      (task) => task.lastStatus !== 'STOPPED' && (startedBy === undefined || task.startedBy === startedBy),
    )
  }

  /** Those that ECS knows. */
  async describe(arns: readonly string[]): Promise<Task[]> {
    const found: Task[] = []
    for (const tasks of chunksOf(arns, MAX_DESCRIBED)) {
      const answer = await this.#api.call('read', 'DescribeTasks', (ecs, options) =>
        ecs.describeTasks({ cluster: this.#cluster, tasks }, options),
      )
      found.push(...(answer.tasks ?? []))
    }
    return found
  }

  /** False when ECS does not know the task, or not yet. */
  async askToStop(task: string, reason: string): Promise<boolean> {
    try {
      const input = { cluster: this.#cluster, task, reason: reason.slice(0, 1_024) }
      await this.#api.call('stop', 'StopTask', (ecs, options) => ecs.stopTask(input, options))
      return true
    } catch (error) {
      if (/not found/i.test((error as Error).message)) return false
      throw error
    }
  }
}
