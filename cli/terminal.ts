/**
 * The live area: a few lines at the bottom of a terminal that are drawn again and again (a spinner, what is under way),
 * below finished lines that scroll away. Nothing is hidden or switched that would have to be restored, so a killed
 * program leaves a usable terminal.
 */
import { truncate, width } from './neutralise.ts'
import { write } from './output.ts'

const FRAMES = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'] as const
const FRAME_MS = 100
/** Things under way beyond this many are only counted. */
const MAX_LIVE_LINES = 6
const CLEAR_BELOW = '\u001b[J'

/** What is under way, as lines without a spinner, longest-running first. Their text holds no escape but our own styles. */
export type LiveLines = () => readonly string[]

export class LiveArea {
  private drawn = 0
  private frame = 0
  private isPaused = false
  private held: string[] = []
  private readonly timer: NodeJS.Timeout
  private readonly stream: NodeJS.WriteStream
  private readonly lines: LiveLines

  constructor(stream: NodeJS.WriteStream, lines: LiveLines) {
    this.stream = stream
    this.lines = lines
    this.timer = setInterval(() => {
      this.frame++
      this.draw()
    }, FRAME_MS)
    this.timer.unref()
  }

  /** Finished lines, above the area. Held back while paused. */
  async append(lines: readonly string[]): Promise<void> {
    if (this.isPaused) {
      this.held.push(...lines)
      return
    }
    if (lines.length === 0) return this.draw()
    const text = this.erase() + lines.map((line) => `${line}\n`).join('')
    this.drawn = 0
    await write(this.stream, text)
    this.draw()
  }

  /** Gives the bottom of the screen to a question. */
  pause(): void {
    this.isPaused = true
    this.clear()
  }

  async resume(): Promise<void> {
    this.isPaused = false
    const held = this.held
    this.held = []
    await this.append(held)
  }

  /** Removes the area for good. */
  async close(): Promise<void> {
    clearInterval(this.timer)
    if (this.isPaused) await this.resume()
    this.clear()
    this.isPaused = true
  }

  private draw(): void {
    if (this.isPaused || this.stream.writableNeedDrain) return // a slow terminal skips frames
    const columns = Math.max(20, this.stream.columns ?? 80)
    const all = this.lines()
    const hidden = all.length - MAX_LIVE_LINES
    const shown = hidden > 0 ? [...all.slice(0, MAX_LIVE_LINES), `and ${hidden} more`] : all
    const spinner = FRAMES[this.frame % FRAMES.length] ?? ''
    const text = shown.map((line) => clip(`${spinner} ${line}`, columns - 1)).join('\n')
    this.stream.write(this.erase() + text)
    this.drawn = shown.length
  }

  private clear(): void {
    if (this.drawn > 0) this.stream.write(this.erase())
    this.drawn = 0
  }

  /** Back to the first line of what is drawn. */
  private erase(): string {
    const up = this.drawn > 1 ? `\u001b[${this.drawn - 1}A` : ''
    return `${up}\r${CLEAR_BELOW}`
  }
}

/** A line that wraps could not be erased, so it is cut; a styled one loses its styles with that. */
function clip(line: string, columns: number): string {
  const bare = line.replace(/\u001b\[[0-9;]*m/g, '')
  return width(bare) <= columns ? line : truncate(bare, columns)
}
