/** Moves what a process writes from its pipe into its journal, no faster than the journal has room. */
import type { Readable } from 'node:stream'
import type { ChannelJournal } from './journal.ts'

/** Where it goes. */
export type PumpTarget = Pick<ChannelJournal, 'append' | 'close' | 'hasRoom'> & { changed(): Promise<void> }

/** How long a pipe may be silent after the process and all we found of it are gone, before we stop listening. */
const SILENCE_MS = 1_000

/**
 * Ends when the pipe has ended. Something that left the process's group and hid its environment may hold the pipe open
 * for ever: once `gone` has fired, a silent pipe is closed.
 */
export async function pump(pipe: Readable, journal: PumpTarget, gone: AbortSignal): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  let isHeldBack = false
  const onSilence = () => {
    if (isHeldBack) timer?.refresh()
    else pipe.destroy()
  }
  const listenForSilence = () => {
    timer = setTimeout(onSilence, SILENCE_MS)
  }
  gone.addEventListener('abort', listenForSilence, { once: true })
  try {
    for await (const chunk of pipe) {
      journal.append(chunk as Buffer)
      isHeldBack = true
      while (!journal.hasRoom) await journal.changed()
      isHeldBack = false
      timer?.refresh()
    }
  } catch {
    // Closed by us after silence, or a read error: there is no more either way.
  } finally {
    gone.removeEventListener('abort', listenForSilence)
    clearTimeout(timer)
    journal.close()
  }
}
