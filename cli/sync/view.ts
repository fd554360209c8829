/** How a sync is shown: its summary on stdout, what happens on the way on stderr, and with `--watch` one line that lives. */
import type { BytePath } from '../../host/tree/names.ts'
import type { Invocation } from '../command.ts'
import { oneLine } from '../neutralise.ts'
import { LiveArea } from '../terminal.ts'
import { detailsOf, isQuiet, jsonOf, shownPath, summaryOf } from './report.ts'
import { didNothing, type Tally } from './tally.ts'

export interface View {
  onDone(what: string, path: BytePath): void
  onLoss(error: Error): void
  onStatus(status: string): void
  /** Of a watch: passes that did nothing are not told again. */
  onPass(tally: Tally): Promise<void>
  onResult(tally: Tally): Promise<void>
  close(): Promise<void>
}

export function openView({ world, out }: Invocation, options: { verbose: boolean; dryRun: boolean }): View {
  const isLive = world.stderr.isTTY === true && world.stdout.isTTY === true && !out.json
  let status = 'comparing'
  let area: LiveArea | undefined
  let lastDetails = ''
  let lost: string | undefined

  /** Above the living line, where there is one. */
  const say = async (lines: readonly string[]) => {
    if (area !== undefined) await area.append(lines)
    else for (const line of lines) await out.line(line)
  }
  const show = async (tally: Tally) => {
    if (out.json) return await out.data(jsonOf(tally, options.dryRun))
    await say([summaryOf(tally, options.dryRun), ...detailsOf(tally, out.style, options.verbose)])
  }

  return {
    onDone(what, path) {
      if (options.verbose && !out.json) void say([`${what.padEnd(14)} ${shownPath(path)}`])
    },
    onLoss(error) {
      if (lost === error.message) return
      lost = error.message
      const text = `${oneLine(error.message)}; trying again`
      if (area === undefined) out.note(text)
      else status = text
    },
    onStatus(text) {
      status = text
      if (isLive) area ??= new LiveArea(world.stderr, () => [status])
    },
    async onPass(tally) {
      if (lost !== undefined && area === undefined) out.note('connected again')
      lost = undefined
      const details = JSON.stringify(jsonOf({ ...tally, same: 0 }, false))
      const isNews = !didNothing(tally) || lastDetails === '' || (details !== lastDetails && !isQuiet(tally))
      lastDetails = details
      if (isNews) await show(tally)
    },
    onResult: show,
    close: async () => await area?.close(),
  }
}
