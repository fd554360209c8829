import { mkdtemp, readdir, rm, unlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  type ChannelJournal,
  JOURNAL_LIMITS,
  Journal,
  type JournalLimits,
  type Piece,
} from '../../../agent/processes/journal.ts'
import { MemoryWindow } from '../../../agent/processes/memory-window.ts'
import { onSmallDisk } from '../../helpers/small-disk.ts'
import { until } from '../http/loopback.ts'

let root: string
let open: Journal[] = []

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'rclaude-journal-'))
})
afterEach(async () => {
  await Promise.all(open.map((journal) => journal.remove()))
  open = []
  await rm(root, { recursive: true, force: true })
})

function journalWith(limits: Partial<JournalLimits>, kind: 'detached' | 'foreground', directory = join(root, 'j')) {
  const journal = new Journal({
    directory,
    limits: { ...JOURNAL_LIMITS, ...limits },
    detached: kind === 'detached',
    attached: kind === 'foreground',
  })
  open.push(journal)
  return journal
}

/** Byte n of every channel here is n modulo a prime, so a byte in the wrong place shows. */
const pattern = (from: number, length: number) => Buffer.from(Array.from({ length }, (_, i) => (from + i) % 251))

async function appendAll(channel: ChannelJournal, total: number, step = 16 * 1024) {
  for (let at = channel.end; at < total; at += step) {
    while (!channel.hasRoom) await channel.changed()
    channel.append(pattern(at, Math.min(step, total - at)))
  }
}

async function collect(pieces: AsyncIterable<Piece>) {
  const found: Piece[] = []
  for await (const piece of pieces) found.push(piece)
  return found
}

/** Every byte is either right or in a gap, nothing is left out or twice. @returns the bytes in gaps */
function expectWhole(pieces: Piece[], from: number, to: number): number {
  let at = from
  let lost = 0
  for (const piece of pieces) {
    if (piece.kind === 'gap') {
      expect(piece.from).toBe(at)
      lost += piece.to - piece.from
      at = piece.to
    } else {
      expect(piece.offset).toBe(at)
      expect(piece.bytes.equals(pattern(at, piece.bytes.length))).toBe(true)
      at += piece.bytes.length
    }
  }
  expect(at).toBe(to)
  return lost
}

describe('memory window', () => {
  it('holds what a plain buffer would hold, whatever is appended, dropped and read', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({ append: fc.integer({ min: 0, max: 40_000 }), drop: fc.double({ min: 0, max: 1, noNaN: true }) }),
          {
            maxLength: 12,
          },
        ),
        (steps) => {
          const window = new MemoryWindow()
          for (const { append, drop } of steps) {
            window.append(pattern(window.end, append))
            window.dropBefore(window.start + Math.floor(drop * window.held))
            const held = Buffer.concat(window.oldest(Number.POSITIVE_INFINITY))
            if (!held.equals(pattern(window.start, window.end - window.start))) return false
          }
          return true
        },
      ),
      { numRuns: 60 },
    )
  })

  it('keeps many tiny writes together in few blocks', () => {
    const window = new MemoryWindow()
    for (let i = 0; i < 100_000; i++) window.append(Buffer.from([i % 251]))
    expect(window.oldest(Number.POSITIVE_INFINITY).length).toBeLessThan(10)
  })
})

describe('foreground journal', () => {
  it('has no room once the window is full, and room again after the client consumed', () => {
    const journal = journalWith({ windowBytes: 1000 }, 'foreground')
    journal.clientCame({ stdout: 0, stderr: 0 })
    journal.stdout.append(pattern(0, 1000))
    expect(journal.stdout.hasRoom).toBe(false)
    expect(journal.stderr.hasRoom).toBe(true)
    journal.consumed({ stdout: 1, stderr: 0 })
    expect(journal.stdout.hasRoom).toBe(true)
    expect(journal.stdout.start).toBe(1)
  })

  it('uses no disk while a client is attached', async () => {
    const journal = journalWith({ clientGraceMs: 0 }, 'foreground')
    journal.clientCame({ stdout: 0, stderr: 0 })
    await appendAll(journal.stdout, 500_000)
    await new Promise((resolve) => setTimeout(resolve, 30))
    expect(await readdir(root)).toEqual([])
    expectWhole(await collect(journal.stdout.read(0)), 0, 500_000)
  })

  it('spills to disk when the client stays away, loses nothing, and holds the process back again when it is back', async () => {
    const journal = journalWith({ windowBytes: 100_000, clientGraceMs: 20 }, 'foreground')
    journal.clientCame({ stdout: 0, stderr: 0 })
    journal.stdout.append(pattern(0, 100_000))
    expect(journal.stdout.hasRoom).toBe(false)
    journal.clientGone()
    await appendAll(journal.stdout, 3_000_000)
    await until('something is on disk', async () => (await readdir(join(root, 'j'))).length > 0)
    journal.clientCame({ stdout: 40_000, stderr: 0 })
    expect(journal.stdout.hasRoom).toBe(false)
    expect(expectWhole(await collect(journal.stdout.read(40_000)), 40_000, 3_000_000)).toBe(0)
    journal.consumed({ stdout: 2_950_000, stderr: 0 })
    expect(journal.stdout.hasRoom).toBe(true)
  })
})

describe('detached journal', () => {
  it('gives many readers the same bytes, and ends followers after the last one', async () => {
    const journal = journalWith({ segmentBytes: 64 * 1024 }, 'detached')
    const early = [0, 0, 5].map((since) => collect(journal.stdout.read(since, { follow: true })))
    await appendAll(journal.stdout, 1_500_000)
    const late = collect(journal.stdout.read(777_777, { follow: true }))
    journal.stdout.close()
    expect((await Promise.all(early)).map((pieces, i) => expectWhole(pieces, i === 2 ? 5 : 0, 1_500_000))).toEqual([
      0, 0, 0,
    ])
    expect(expectWhole(await late, 777_777, 1_500_000)).toBe(0)
  })

  it('turns the oldest segments into a gap at the quota', async () => {
    const journal = journalWith({ segmentBytes: 64 * 1024, quotaBytes: 256 * 1024 }, 'detached')
    await appendAll(journal.stdout, 2_000_000)
    journal.stdout.close()
    await until('the quota is kept', () => journal.stdout.end - journal.stdout.heldFrom(0) <= 256 * 1024)
    const pieces = await collect(journal.stdout.read(0, { follow: true }))
    expect(pieces[0]?.kind).toBe('gap')
    expect(pieces.filter((piece) => piece.kind === 'gap')).toHaveLength(1)
    const kept = 2_000_000 - expectWhole(pieces, 0, 2_000_000)
    expect(kept).toBeGreaterThan(128 * 1024)
    expect(journal.stdout.heldFrom(0)).toBe(2_000_000 - kept)
  })

  it('does not let a talkative stdout push out a quiet stderr', async () => {
    const journal = journalWith({ segmentBytes: 64 * 1024, quotaBytes: 256 * 1024 }, 'detached')
    await appendAll(journal.stderr, 1_000)
    await appendAll(journal.stdout, 2_000_000)
    expect(expectWhole(await collect(journal.stderr.read(0)), 0, 1_000)).toBe(0)
  })

  it('shows bytes of a deleted segment as a gap and goes on', async () => {
    const journal = journalWith({ segmentBytes: 64 * 1024 }, 'detached')
    await appendAll(journal.stdout, 300_000)
    await until('all is on disk', async () => (await readdir(join(root, 'j'))).length >= 4)
    await unlink(join(root, 'j', 'stdout-0'))
    const lost = expectWhole(await collect(journal.stdout.read(0)), 0, 300_000)
    expect(lost).toBeGreaterThan(0)
    expect(lost).toBeLessThan(200_000)
    await appendAll(journal.stdout, 600_000)
    expect(expectWhole(await collect(journal.stdout.read(300_000)), 300_000, 600_000)).toBe(0)
  })

  it('keeps what comes after the segment that is being written was deleted', async () => {
    const journal = journalWith({}, 'detached')
    await appendAll(journal.stdout, 10_000)
    await until('it is on disk', async () => (await readdir(join(root, 'j')).catch(() => [])).length === 1)
    await unlink(join(root, 'j', 'stdout-0'))
    await until(
      'the loss is seen',
      async () => expectWhole(await collect(journal.stdout.read(0)), 0, 10_000) === 10_000,
    )
    await appendAll(journal.stdout, 30_000)
    await until('a new segment is there', async () => (await readdir(join(root, 'j'))).length === 1)
    expect(expectWhole(await collect(journal.stdout.read(0)), 0, 30_000)).toBe(10_000)
  })

  it('stops a follower when its signal fires', async () => {
    const journal = journalWith({}, 'detached')
    const controller = new AbortController()
    const reading = collect(journal.stdout.read(0, { follow: true, signal: controller.signal }))
    controller.abort()
    expect(await reading).toEqual([])
  })

  it('drops output as a gap when the disk is full, leaves the reserve free, and goes on when there is space', async (test) => {
    await onSmallDisk(test, join(root, 'disk'), '5m', async (disk) => {
      await writeFile(join(disk, 'ballast'), Buffer.alloc(2 * 1024 ** 2))
      const journal = journalWith({ segmentBytes: 256 * 1024 }, 'detached', join(disk, 'j'))
      await appendAll(journal.stdout, 6_000_000)
      await writeFile(join(disk, 'event'), Buffer.alloc(800 * 1024)) // the reserve is really there
      await rm(join(disk, 'event'))
      await rm(join(disk, 'ballast'))
      await appendAll(journal.stdout, 7_000_000)
      journal.stdout.close()
      const pieces = await collect(journal.stdout.read(0, { follow: true }))
      const lost = expectWhole(pieces, 0, 7_000_000)
      expect(lost).toBeGreaterThan(2_000_000)
      const last = pieces.at(-1)
      expect(last?.kind).toBe('bytes')
      await journal.remove()
    })
  })

  it('drops output as a gap on a real write error in the middle of a batch', async (test) => {
    await onSmallDisk(test, join(root, 'disk'), '1m', async (disk) => {
      // Negative: the check for free space always passes, so that the kernel says ENOSPC.
      const journal = journalWith({ segmentBytes: 300 * 1024, reserveBytes: -(1024 ** 3) }, 'detached', join(disk, 'j'))
      await appendAll(journal.stdout, 4_000_000)
      journal.stdout.close()
      const lost = expectWhole(await collect(journal.stdout.read(0, { follow: true })), 0, 4_000_000)
      expect(lost).toBeGreaterThan(1_000_000)
      expect(lost).toBeLessThan(4_000_000)
      await journal.remove()
    })
  })
})
