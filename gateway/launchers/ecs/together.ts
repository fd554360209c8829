/**
 * Questions that come one by one and are asked together: while one call is under way, whatever is wanted meanwhile waits for the
 * next, so a hundred at once cost two calls.
 */
export function together<Value>(
  askFor: (keys: string[]) => Promise<Map<string, Value>>,
): (key: string) => Promise<Value | undefined> {
  let running: Promise<unknown> = Promise.resolve()
  let next: { keys: Set<string>; answer: Promise<Map<string, Value>> } | undefined
  return async (key) => {
    if (next === undefined) {
      const keys = new Set<string>()
      const answer = running.then(() => {
        next = undefined
        return askFor([...keys])
      })
      next = { keys, answer }
      running = answer.catch(() => {})
    }
    next.keys.add(key)
    return (await next.answer).get(key)
  }
}
