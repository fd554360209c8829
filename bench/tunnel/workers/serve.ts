/** The answering side of a worker: named calls over Node's IPC, one answer each. */

/** Calls by name; each takes one value and answers with one. */
export type Calls = { [name: string]: (argument: never) => unknown }

export interface Call {
  id: number
  call: string
  argument: unknown
}

export interface Answer {
  id: number
  result?: unknown
  error?: string
}

/** Answers until the bench is gone, then ends this process. */
export function serve(calls: Calls): void {
  process.on('message', (message: Call) => {
    void answer(calls, message).then((said) => process.connected && process.send?.(said))
  })
  process.on('disconnect', () => process.exit(0))
}

export async function answer(calls: Calls, { id, call, argument }: Call): Promise<Answer> {
  try {
    return { id, result: await calls[call]?.(argument as never) } // sent by the typed call of children.ts
  } catch (error) {
    return { id, error: error instanceof Error ? error.message : String(error) }
  }
}
