/** Work that is waited for, but not for ever. */

/**
 * What `work` comes to, or what `late` says when it takes longer than `ms`; the work itself goes on, and is the caller's.
 * While it waits the process stays alive.
 */
export async function within<Result, Late>(
  ms: number,
  work: Promise<Result>,
  late: () => Late,
): Promise<Result | Late> {
  let timer: NodeJS.Timeout | undefined
  const deadline = new Promise<'late'>((resolve) => {
    timer = setTimeout(() => resolve('late'), ms)
  })
  try {
    const first = await Promise.race([work.then((result) => ({ result })), deadline])
    return first === 'late' ? late() : first.result
  } finally {
    clearTimeout(timer)
  }
}
