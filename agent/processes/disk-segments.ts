/**
 * The older bytes of one output channel, on disk: files of a few MiB each, written in order, the oldest deleted when the
 * quota of the process is reached. What could not be written (a full disk, a deleted directory) is simply not here:
 * the journal shows every range that nobody holds as a gap. Nothing is fsynced; a container's disk dies with it.
 */
import { type FileHandle, mkdir, open, rm, statfs } from 'node:fs/promises'
import { dirname } from 'node:path'

export interface SegmentOptions {
  /** A file is closed once it holds this much. */
  segmentBytes: number
  /** Output is dropped rather than leave less than this free on the disk, so that events and results still fit. */
  reserveBytes: number
  /** Asked when something does not fit on the disk; true when it was worth trying again. */
  makeRoom?: () => Promise<boolean>
  /** Free space of the disk that a directory is on. Default: what the system says. */
  freeBytes?: (directory: string) => Promise<number>
}

interface Segment {
  path: string
  from: number
  to: number
}

/** The disk space of one process, shared by its channels. */
export class DiskQuota {
  readonly limitBytes: number
  readonly #sharers: DiskSegments[] = []

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes
  }

  join(segments: DiskSegments): void {
    this.#sharers.push(segments)
  }

  /** Deletes oldest files of whoever holds most, until `bytes` more fit or only files being written are left. */
  makeRoom(bytes: number): void {
    for (;;) {
      const used = this.#sharers.reduce((sum, sharer) => sum + sharer.heldBytes, 0)
      if (used + bytes <= this.limitBytes) return
      const fattest = this.#sharers.reduce((a, b) => (b.closedBytes > a.closedBytes ? b : a))
      if (!fattest.evictOldest()) return
    }
  }
}

export class DiskSegments {
  readonly #prefix: string
  readonly #quota: DiskQuota
  readonly #options: SegmentOptions
  /** In order of offset, with holes between them where output was lost. The last one may be open. */
  #segments: Segment[] = []
  #open: { segment: Segment; file: FileHandle } | undefined
  #removed = false

  /** Files are named `<prefix>-<offset>`; their directory is made when the first is written. */
  constructor(prefix: string, quota: DiskQuota, options: SegmentOptions) {
    this.#prefix = prefix
    this.#quota = quota
    this.#options = options
    quota.join(this)
  }

  /** Oldest byte held, undefined when there is none. */
  get start(): number | undefined {
    return this.#segments[0]?.from
  }

  get heldBytes(): number {
    return this.#segments.reduce((sum, { from, to }) => sum + to - from, 0)
  }

  /** Bytes in files that are no longer written. */
  get closedBytes(): number {
    const open = this.#open?.segment
    return this.heldBytes - (open === undefined ? 0 : open.to - open.from)
  }

  /** Writes what it can; never throws, unless `makeRoom` does. One call at a time. @returns the error that made it drop the rest */
  async write(offset: number, slices: Buffer[]): Promise<Error | undefined> {
    let rest = slices
    let at = offset
    for (;;) {
      try {
        await this.#roomFor(rest.reduce((sum, slice) => sum + slice.length, 0))
        while (rest.length > 0 && !this.#removed) {
          const { segment, file } = await this.#segmentAt(at)
          const { bytesWritten } = await file.writev(rest)
          segment.to += bytesWritten
          at += bytesWritten
          rest = without(rest, bytesWritten)
        }
        return undefined
      } catch (error) {
        await this.#closeOpen()
        if (isNoSpace(error) && (await this.#options.makeRoom?.()) === true) continue
        return error instanceof Error ? error : new Error(String(error))
      }
    }
  }

  /** Bytes from `offset` on, at most `max`; undefined when they are not here. */
  async read(offset: number, max: number): Promise<Buffer | undefined> {
    const segment = this.#segments.find(({ from, to }) => from <= offset && offset < to)
    if (segment === undefined) return undefined
    const wanted = Math.min(max, segment.to - offset)
    try {
      const file = await open(segment.path, 'r')
      try {
        const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(wanted), 0, wanted, offset - segment.from)
        if (bytesRead > 0) return buffer.subarray(0, bytesRead)
      } finally {
        await file.close()
      }
    } catch {
      // The file was evicted meanwhile, or somebody deleted it.
    }
    this.#segments = this.#segments.filter((other) => other !== segment)
    return undefined
  }

  /** The first byte held after `offset`. */
  nextAfter(offset: number): number | undefined {
    return this.#segments.find(({ from }) => from > offset)?.from
  }

  /** The first byte held at or after `offset`. */
  heldFrom(offset: number): number | undefined {
    const segment = this.#segments.find(({ from, to }) => from < to && offset < to)
    return segment && Math.max(offset, segment.from)
  }

  /** Deletes files that hold nothing from `offset` on. */
  dropBefore(offset: number): void {
    while (this.closedBytes > 0 && (this.#segments[0]?.to ?? Number.POSITIVE_INFINITY) <= offset) {
      if (!this.evictOldest()) return
    }
  }

  /** @returns false when only the file being written is left */
  evictOldest(): boolean {
    const oldest = this.#segments[0]
    if (oldest === undefined || oldest === this.#open?.segment) return false
    this.#segments.shift()
    void rm(oldest.path, { force: true }).catch(() => {})
    return true
  }

  /** Nothing more is expected for now: gives the file back. */
  async rest(): Promise<void> {
    await this.#closeOpen()
  }

  /** No more writes; the files themselves go with their directory, which is the owner's. */
  async close(): Promise<void> {
    this.#removed = true
    await this.#closeOpen()
  }

  async #roomFor(bytes: number): Promise<void> {
    await mkdir(dirname(this.#prefix), { recursive: true, mode: 0o700 })
    const open = this.#open?.segment
    const isFull = open !== undefined && open.to - open.from >= this.#options.segmentBytes
    const isLost = open !== undefined && !this.#segments.includes(open) // found unreadable: don't go on writing to it
    if (isFull || isLost) await this.#closeOpen()
    this.#quota.makeRoom(bytes)
    const free = await (this.#options.freeBytes ?? freeBytesOf)(dirname(this.#prefix))
    if (free < bytes + this.#options.reserveBytes) throw new NoSpace(this.#options.reserveBytes)
  }

  async #segmentAt(offset: number): Promise<{ segment: Segment; file: FileHandle }> {
    if (this.#open !== undefined && this.#open.segment.to === offset) return this.#open
    await this.#closeOpen()
    const path = `${this.#prefix}-${offset}`
    const file = await open(path, 'w', 0o600)
    const segment = { path, from: offset, to: offset }
    this.#segments.push(segment)
    this.#open = { segment, file }
    return this.#open
  }

  async #closeOpen(): Promise<void> {
    const open = this.#open
    this.#open = undefined
    if (open === undefined) return
    if (open.segment.from === open.segment.to) {
      this.#segments = this.#segments.filter((one) => one !== open.segment)
      await rm(open.segment.path, { force: true }).catch(() => {})
    }
    await open.file.close().catch(() => {}) // a late write error: what it held is lost, and read() will find out
  }
}

class NoSpace extends Error {
  readonly code = 'ENOSPC'

  constructor(reserveBytes: number) {
    super(`less than ${reserveBytes} bytes would be left free on the disk`)
  }
}

const isNoSpace = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT')

async function freeBytesOf(directory: string): Promise<number> {
  const disk = await statfs(directory)
  return disk.bavail * disk.bsize
}

function without(slices: Buffer[], bytes: number): Buffer[] {
  let skip = bytes
  return slices.flatMap((slice) => {
    const skipped = Math.min(skip, slice.length)
    skip -= skipped
    return skipped === slice.length ? [] : [slice.subarray(skipped)]
  })
}
