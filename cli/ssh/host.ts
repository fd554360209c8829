/** Tasks as SSH knows them: `TASK.rclaude`, any name that other commands take too; `last.rclaude` is @last. */
const SUFFIX = '.rclaude'

export const PATTERN = `*${SUFFIX}`

export const hostOf = (name: string): string => `${name.replace(/^@/, '')}${SUFFIX}`

/** What `findTask` takes. */
export function taskNameOf(host: string): string {
  const name = host.endsWith(SUFFIX) ? host.slice(0, -SUFFIX.length) : host
  return name === 'last' ? '@last' : name
}
