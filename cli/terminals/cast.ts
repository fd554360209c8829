/** Recordings in asciinema's format: a header, then one line for each piece of output, input or new size, with its time. */
import { closeSync, openSync, writeSync } from 'node:fs'
import { StringDecoder } from 'node:string_decoder'
import { z } from 'zod'
import { RclaudeError } from '../../protocol/errors.ts'
import type { TerminalSize } from '../../protocol/process.ts'

const Header = z.looseObject({
  version: z.union([z.literal(2), z.literal(3)]),
  width: z.number().int().positive().optional(),
  height: z.number().int().positive().optional(),
  term: z.looseObject({ cols: z.number().int().positive(), rows: z.number().int().positive() }).optional(),
})
const Entry = z.tuple([z.number().nonnegative(), z.string(), z.string()]).rest(z.unknown())

/** Writes asciicast v2, each entry at once: what was shown is in the file however this program ends. */
export class Recorder {
  readonly #file: number
  readonly #now: () => number
  readonly #start: number
  readonly #decoder = new StringDecoder('utf8')

  /** @throws RclaudeError `conflict` for a file that is there */
  constructor(path: string, size: TerminalSize, term: string, now: () => number = Date.now) {
    this.#now = now
    this.#start = now()
    this.#file = create(path)
    const timestamp = Math.floor(this.#start / 1_000)
    this.#line({ version: 2, width: size.columns, height: size.rows, timestamp, env: { TERM: term } })
  }

  output(bytes: Buffer): void {
    this.#add('o', this.#decoder.write(bytes))
  }

  resize({ columns, rows }: TerminalSize): void {
    this.#add('r', `${columns}x${rows}`)
  }

  close(): void {
    closeSync(this.#file)
  }

  #add(kind: string, data: string): void {
    if (data !== '') this.#line([Math.round(this.#now() - this.#start) / 1_000, kind, data])
  }

  #line(value: unknown): void {
    writeSync(this.#file, `${JSON.stringify(value)}\n`)
  }
}

/** For its owner alone: it holds whatever was on the screen. */
function create(path: string): number {
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
