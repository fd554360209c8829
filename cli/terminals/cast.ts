/** Recordings in asciinema's format: written here as they are shown, and read. */
import { closeSync, openSync, writeSync } from 'node:fs'
import { z } from 'zod'
import { AsciicastWriter } from '../../host/asciicast.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import type { TerminalSize } from '../../protocol/process.ts'

const Header = z.looseObject({
  version: z.union([z.literal(2), z.literal(3)]),
  width: z.number().int().positive().optional(),
  height: z.number().int().positive().optional(),
  term: z.looseObject({ cols: z.number().int().positive(), rows: z.number().int().positive() }).optional(),
})
const Entry = z.tuple([z.number().nonnegative(), z.string(), z.string()]).rest(z.unknown())

/** Writes each entry at once: what was shown is in the file however this program ends. */
export class Recorder {
  readonly #file: number
  readonly #cast: AsciicastWriter

  /** @throws RclaudeError `conflict` for a file that is there */
  constructor(path: string, size: TerminalSize, term: string) {
    this.#file = createRecording(path)
    this.#cast = new AsciicastWriter({ size, term, write: (line) => void writeSync(this.#file, line) })
  }

  output(bytes: Buffer): void {
    this.#cast.output(bytes)
  }

  resize(size: TerminalSize): void {
    this.#cast.resize(size)
  }

  close(): void {
    closeSync(this.#file)
  }
}

/** For its owner alone: it holds whatever was on the screen. @returns it, open. @throws RclaudeError `conflict` for a file that is there */
export function createRecording(path: string): number {
  try {
    return openSync(path, 'wx', 0o600)
  } catch (error) {
    const exists = error instanceof Error && 'code' in error && error.code === 'EEXIST'
    throw new RclaudeError(
      exists ? 'conflict' : 'invalid',
      exists ? `${path} is there already; choose another file` : `cannot write ${path}: ${(error as Error).message}`,
      { cause: error },
    )
  }
}

export interface CastEntry {
  /** Since the entry before. */
  waitSeconds: number
  kind: string
  data: string
}

/** Entries of asciicast v2 and v3. @throws RclaudeError `invalid` with the number of the line */
export async function* readCast(lines: AsyncIterable<string>, name: string): AsyncGenerator<TerminalSize | CastEntry> {
  let version: 2 | 3 | undefined
  let last = 0
  let number = 0
  for await (const line of lines) {
    number++
    if (line.trim() === '' || (version !== undefined && line.startsWith('#'))) continue
    const value = parsed(line)
    if (version === undefined) {
      const header = Header.safeParse(value)
      if (!header.success) throw bad(name, number, 'is no header of an asciicast (version 2 or 3)')
      version = header.data.version
      const { width, height, term } = header.data
      yield { columns: term?.cols ?? width ?? 80, rows: term?.rows ?? height ?? 24 }
      continue
    }
    const entry = Entry.safeParse(value)
    if (!entry.success) throw bad(name, number, 'is not [seconds, kind, text]')
    const [time, kind, data] = entry.data
    const waitSeconds = version === 3 ? time : Math.max(0, time - last)
    last = time
    yield { waitSeconds, kind, data }
  }
  if (version === undefined) throw bad(name, 1, 'is missing: the file is empty')
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}

const bad = (name: string, line: number, what: string): RclaudeError =>
  new RclaudeError('invalid', `${name} is no recording: line ${line} ${what}`)
