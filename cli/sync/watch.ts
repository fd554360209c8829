/**
 * `--watch`: passes whenever something changed here or there, until it is ended. Every pass looks at everything, so an event
 * that was lost, an overflow or a broken connection cost time and never a file; a pass without any event comes now and then.
 */
import { basename, relative, sep } from 'node:path'
import { watch as watchFiles } from 'chokidar'
import { isLeftOut } from '../../host/tree/list.ts'
import { fromText } from '../../host/tree/names.ts'
import { MAX_SYNC_WAIT_SECONDS } from '../../protocol/sync.ts'
import { isLoss, readManifest } from './far.ts'
import type { SyncOptions } from './pass.ts'
import type { Session } from './session.ts'
import type { Tally } from './tally.ts'

/** Events come in bursts: quiet for so long, but not longer than the second. */
const QUIET_MS = 100
const MAX_QUIET_MS = 1_000
/** The far folder's agent waits for a change; an answer without one that comes sooner than this is not asked for again at once. */
const MIN_POLL_MS = 1_000
/** A pass without any event. */
const RESCAN_MS = 60_000

export interface WatchOptions extends Pick<SyncOptions, 'directory' | 'far' | 'selection'> {
  /** After each pass. */
  onPass(tally: Tally): Promise<void>
  onStatus(status: string): void
}

/** Returns when the signal of `far` fires. */
export async function keepInSync(session: Session, options: WatchOptions): Promise<void> {
  const { signal } = options.far
  const wake = new Wake(signal)
  const stopLooking = watchNear(options, wake)
  try {
    while (!signal.aborted) {
      options.onStatus('comparing')
      await options.onPass(await session.sync())
      options.onStatus('watching; Ctrl-C ends')
      await untilChanged(session, options, wake)
    }
  } catch (error) {
    if (!signal.aborted) throw error
  } finally {
    await stopLooking()
  }
}

/** Something happened: here, or an answer came from there. */
class Wake {
  #called: 'near' | 'far' | undefined
  #sleeper: (() => void) | undefined
  readonly #signal: AbortSignal

  constructor(signal: AbortSignal) {
    this.#signal = signal
    signal.addEventListener('abort', () => this.call('near'), { once: true })
  }

  call(by: 'near' | 'far'): void {
    if (this.#called !== 'near') this.#called = by
    this.#sleeper?.()
  }

  /** @returns who called, also before; undefined when the time is up */
  async within(ms: number): Promise<'near' | 'far' | undefined> {
    if (this.#called === undefined && !this.#signal.aborted) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, ms)
        this.#sleeper = () => {
          clearTimeout(timer)
          resolve()
        }
      })
      this.#sleeper = undefined
    }
    const called = this.#called
    this.#called = undefined
    return called
  }
}

async function untilChanged(session: Session, options: WatchOptions, wake: Wake): Promise<void> {
  const { signal } = options.far
  const rescanAtMs = Date.now() + RESCAN_MS
  while (!signal.aborted && Date.now() < rescanAtMs) {
    const beganMs = Date.now()
    const asking = new AbortController()
    const far = { ...options.far, signal: AbortSignal.any([signal, asking.signal]) }
    const farChanged = hasFarChanged(session, { ...options, far }).finally(() => wake.call('far'))
    farChanged.catch(() => {}) // it is awaited below
    const woken = await wake.within(RESCAN_MS)
    if (woken !== 'far') {
      asking.abort()
      await farChanged.catch(() => {}) // it was given up
      return await untilQuiet(wake, signal)
    }
    if (await farChanged) return
    const early = beganMs + MIN_POLL_MS - Date.now()
    if (early > 0 && (await wake.within(early)) !== undefined) return await untilQuiet(wake, signal)
  }
}

async function untilQuiet(wake: Wake, signal: AbortSignal): Promise<void> {
  for (const endMs = Date.now() + MAX_QUIET_MS; Date.now() < endMs && !signal.aborted; )
    if ((await wake.within(QUIET_MS)) === undefined) return
}

/** A lost connection counts as a change: the next pass waits for it, and then looks at everything. */
async function hasFarChanged({ memory }: Session, { far, selection }: WatchOptions): Promise<boolean> {
  try {
    return (
      (await readManifest(far, selection, { known: memory.farDigest, waitSeconds: MAX_SYNC_WAIT_SECONDS })).entries !==
      undefined
    )
  } catch (error) {
    if (far.signal.aborted || isLoss(error)) return true
    throw error
  }
}

/** @returns ends it */
function watchNear({ directory, selection, onStatus }: WatchOptions, wake: Wake): () => Promise<void> {
  const isOut = isLeftOut(selection.exclude)
  const watcher = watchFiles(directory, {
    ignoreInitial: true,
    followSymlinks: false,
    ignored: (path) => {
      const inside = relative(directory, path).split(sep).join('/')
      return inside !== '' && (isOut(fromText(inside)) || (selection.ignore && UNWATCHED.has(basename(path))))
    },
  })
  watcher.on('all', () => wake.call('near'))
  // What changed while it looked around for the first time was told by nobody.
  watcher.on('ready', () => wake.call('near'))
  watcher.on('error', (error) => {
    // No more watches, or an overflow: what is missed here the rescans find.
    onStatus(`cannot watch everything here (${error instanceof Error ? error.message : error})`)
    wake.call('near')
  })
  return () => watcher.close()
}

/** Folders that are ignored nearly everywhere and hold more files than all others: what changes in them a rescan finds. */
const UNWATCHED = new Set(['node_modules', '.venv', '__pycache__'])
