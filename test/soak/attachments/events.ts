/**
 * Followers of the task's events: the CLI's own, and a plain reader of server-sent events, which forgives nothing. The
 * task prints numbered lines; both the events' numbers and the text must be without a hole and without a repetition.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { followEvents } from '../../../cli/follow.ts'
import { TaskEvent } from '../../../protocol/event.ts'
import { routes } from '../../../protocol/routes.ts'
import { type Attachment, attachment, type Stage, type Tally } from './attachment.ts'
import { Expected, Fault } from './expected.ts'

/** Until a file named `finish` is there. */
export const TICKING = ['sh', '-c', 'i=0; while [ ! -e finish ]; do i=$((i+1)); echo "tick $i"; sleep 0.2; done']

/** `since` the number of the last event that it wants not to see. */
export const follow = (stage: Stage, name: string, since: number): Attachment => ({
  ...attachment(name, async (isReady) => {
    const check = checkEvents(name, since)
    for await (const event of followEvents(stage.client, stage.taskId, { since })) {
      check(event)
      isReady()
    }
    return { checked: check.count(), retries: 0 }
  }),
  followsTask: true,
})

export const serverSentEvents = (stage: Stage, name: string): Attachment => ({
  ...attachment(name, async (isReady) => {
    const check = checkEvents(name, 0)
    const tally: Tally = { checked: 0, retries: 0 }
    for (;;) {
      try {
        for await (const event of readEvents(stage, check.count())) {
          if (event === 'end') return { ...tally, checked: check.count() }
          check(event)
          isReady()
        }
      } catch (error) {
        if (error instanceof Fault) throw error
      }
      tally.retries++
      await pause(100 + stage.random() * 400)
    }
  }),
  followsTask: true,
})

export interface EventCheck {
  /** @throws Fault */
  (event: TaskEvent): void
  count(): number
}

/** Numbers from `since + 1` on; the task's lines from the first that is seen. */
export function checkEvents(name: string, since: number): EventCheck {
  let seen = since
  const text = new Expected(`${name} text`)
  let rest = ''
  let next: number | undefined
  const check = (event: TaskEvent) => {
    if (event.seq !== seen + 1) throw new Fault(`${name}: event ${event.seq} came after ${seen}`)
    seen = event.seq
    if (event.type === 'gap') throw new Fault(`${name}: a gap of ${event.count} ${event.what}`)
    if (event.type !== 'output') return
    const lines = (rest + event.text).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) {
      next ??= Number(/^tick (\d+)$/.exec(line)?.[1])
      text.expect(Buffer.from(`tick ${next++}`))
      text.accept(Buffer.from(line))
      text.end()
    }
  }
  return Object.assign(check, { count: () => seen - since })
}

/** One connection. The events of the stream, and `end` when the task is over. */
async function* readEvents(stage: Stage, lastEventId: number): AsyncGenerator<TaskEvent | 'end'> {
  const response = await stage.client.raw(routes.events, {
    params: { taskId: stage.taskId },
    query: { follow: '1' },
    headers: { accept: 'text/event-stream', 'last-event-id': String(lastEventId) },
  })
  let rest = ''
  for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    const blocks = (rest + chunk).split('\n\n')
    rest = blocks.pop() ?? ''
    for (const block of blocks) {
      if (block.startsWith('event: end')) yield 'end'
      const data = /^data: (.*)$/m.exec(block)?.[1]
      if (data !== undefined && block.startsWith('id: ')) yield TaskEvent.parse(JSON.parse(data))
    }
  }
}
