/** Says which files a result lacks because they hold a secret: a patch that is not whole must not look as if it were. */
import { MAX_WITHHELD_TOLD, type Withheld } from '../protocol/event.ts'
import { routes } from '../protocol/routes.ts'
import type { Gateway } from './api.ts'
import { oneLine } from './neutralise.ts'
import type { Output } from './output.ts'

/** @returns what was left out of the newest result, which was also said on stderr */
export async function noteWithheld({ client }: Gateway, taskId: string, out: Output): Promise<Withheld[]> {
  const task = await client.call(routes.getTask, { params: { taskId } })
  const withheld = task.turns.findLast((turn) => turn.result !== undefined)?.result?.withheld ?? []
  for (const { path, line, secret } of withheld)
    out.note(
      out.style.yellow(
        `! left out: ${oneLine(path)}${line === undefined ? '' : `:${line}`} holds the secret ${oneLine(secret)}`,
      ),
    )
  if (withheld.length === MAX_WITHHELD_TOLD) out.note(out.style.yellow('! and perhaps more'))
  return withheld
}
