/** Reads server-sent events one by one. */

export interface SseEvent {
  id: string
  event: string
  data: unknown
}

export class SseReader {
  readonly response: Response
  readonly #reader: ReadableStreamDefaultReader<string>
  readonly #abort: AbortController
  #rest = ''

  private constructor(response: Response, abort: AbortController) {
    this.response = response
    this.#abort = abort
    const text = (response.body as ReadableStream<Uint8Array>).pipeThrough(new TextDecoderStream())
    this.#reader = text.getReader()
  }

  static async open(url: string, headers: Record<string, string> = {}): Promise<SseReader> {
    const abort = new AbortController()
    return new SseReader(await fetch(url, { headers, signal: abort.signal }), abort)
  }

  /** Undefined at the end. @throws when nothing comes in time */
  async next(timeoutMs = 10_000): Promise<SseEvent | undefined> {
    for (;;) {
      const end = this.#rest.indexOf('\n\n')
      if (end >= 0) {
        const frame = this.#rest.slice(0, end)
        this.#rest = this.#rest.slice(end + 2)
        const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(frame)?.[1]
        const event = field('event')
        if (event === undefined) continue // a comment, or retry
        return { id: field('id') ?? '', event, data: JSON.parse(field('data') ?? 'null') }
      }
      let timer: NodeJS.Timeout | undefined
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new Error(`no event within ${timeoutMs} ms`)), timeoutMs)
      })
      const piece = await Promise.race([this.#reader.read(), late]).finally(() => clearTimeout(timer))
      if (piece.done) return undefined
      this.#rest += piece.value
    }
  }

  close(): void {
    this.#reader.cancel().catch(() => {})
    this.#abort.abort()
  }
}
