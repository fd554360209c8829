// Makes a new input of old ones. Most changes keep the grid of pieces (frames, operations), some don't care.

import type { Random } from './random.ts'
import type { Target } from './target.ts'

const INTERESTING = [0, 1, 2, 3, 4, 5, 8, 12, 15, 16, 0x7f, 0x80, 0xfe, 0xff] as const
const INTERESTING_WORDS = [0, 1, 2, 3, 12, 0xff, 0xffff, 0x10000, 0x40000, 0x7fffffff, 0x80000000, 0xffffffff] as const

/** One to six changes. `other` lends pieces. */
export function mutate(target: Target, input: Buffer, other: Buffer, random: Random): Buffer {
  let bytes = Buffer.from(input)
  for (let left = 1 + random.below(6); left > 0; left -= 1) bytes = change(target, bytes, other, random)
  return bytes.subarray(0, target.maxBytes)
}

function change(target: Target, bytes: Buffer, other: Buffer, random: Random): Buffer<ArrayBuffer> {
  const at = (of: Buffer) => {
    const units = Math.floor((of.length - target.headerBytes) / target.unitBytes)
    return target.headerBytes + random.below(units + 1) * target.unitBytes
  }
  const span = () => (1 + random.below(4)) * Math.max(target.unitBytes, random.oneIn(2) ? 12 : 1)
  switch (random.below(10)) {
    case 0:
    case 1:
    case 2:
      return setByte(bytes, random)
    case 3:
      return setWord(bytes, random)
    case 4:
    case 5:
    case 6:
      return insert(bytes, at(bytes), target.piece(random))
    case 7: {
      const from = at(bytes)
      return Buffer.concat([bytes.subarray(0, from), bytes.subarray(from + span())])
    }
    case 8: {
      const from = at(bytes)
      return insert(bytes, at(bytes), bytes.subarray(from, from + span()))
    }
    default: {
      const from = at(other)
      return insert(bytes, at(bytes), other.subarray(from, from + 2 * span()))
    }
  }
}

const insert = (bytes: Buffer, at: number, piece: Buffer): Buffer<ArrayBuffer> =>
  Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at)])

function setByte(bytes: Buffer, random: Random): Buffer<ArrayBuffer> {
  const at = random.below(bytes.length)
  const old = bytes[at] ?? 0
  const values = [old ^ (1 << random.below(8)), random.below(256), random.pick(INTERESTING), old + 1, old - 1] as const
  if (at < bytes.length) bytes[at] = random.pick(values) & 0xff
  return Buffer.from(bytes)
}

function setWord(bytes: Buffer, random: Random): Buffer<ArrayBuffer> {
  if (bytes.length >= 4) bytes.writeUInt32BE(random.pick(INTERESTING_WORDS), random.below(bytes.length - 3))
  return Buffer.from(bytes)
}
