/**
 * A terminal's output on its way to one viewer, within its window. What is lost, and what a viewer would have to wait long
 * for, is replaced by the screen as it is: so a viewer on a slow line beside one on a fast line sees the present, with steps
 * left out.
 */
import type { ChannelJournal } from '../processes/journal.ts'
import type { Snapshot } from '../terminals/screen.ts'
import type { Terminal } from '../terminals/terminal.ts'

/** A viewer this far behind is sent the screen: it is a few KiB. */
const TOO_FAR_BEHIND_BYTES = 256 * 1024
/** At once; so that a window is used in several steps and acknowledged in as many. */
const PIECE_BYTES = 8 * 1024

export interface TerminalClient {
  signal: AbortSignal
  hasRoom(): boolean
  /** Resolves when it has room, or is gone. */
  room(): Promise<void>
  output(offset: number, bytes: Buffer): Promise<void>
  screen(snapshot: Snapshot): Promise<void>
}

/** @param since undefined: begin with the screen */
export async function showTerminal(
  terminal: Terminal,
  journal: ChannelJournal,
  since: number | undefined,
  client: TerminalClient,
): Promise<void> {
  const { signal } = client
  for (let at = since, isFirst = true; !signal.aborted; isFirst = false) {
    if (at === undefined) {
      const snapshot = terminal.snapshot(isFirst)
      await client.screen(snapshot)
      at = snapshot.offset
      await client.room()
    }
    at = await sendFrom(journal, at, client)
    if (at !== undefined) return
  }
}

/** @returns where the output ended; undefined when the screen has to be sent */
async function sendFrom(journal: ChannelJournal, start: number, client: TerminalClient): Promise<number | undefined> {
  let at = start
  for await (const piece of journal.read(start, { follow: true, signal: client.signal })) {
    if (piece.kind === 'gap') return undefined
    for (let from = 0; from < piece.bytes.length; from += PIECE_BYTES) {
      const part = piece.bytes.subarray(from, from + PIECE_BYTES)
      if (!client.hasRoom()) await client.room()
      if (client.signal.aborted) return at
      if (journal.end - at > TOO_FAR_BEHIND_BYTES) return undefined
      await client.output(at, part)
      at += part.length
    }
  }
  return at
}
