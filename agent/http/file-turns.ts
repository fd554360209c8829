/** Checks and renames of this agent happen one after another, so that of two uploads with one If-Match only one wins. */
let commits: Promise<unknown> = Promise.resolve()

export function serially<Result>(work: () => Promise<Result>): Promise<Result> {
  const result = commits.then(work, work)
  commits = result.catch(() => {})
  return result
}
