// The masking of WebSocket payload (RFC 6455, 5.3), four bytes at a time. `ws` does it byte by byte, which was the most
// expensive thing that an agent did over `ws://`, unless it finds the native package `bufferutil`; the build puts this in
// its place (scripts/build.mjs), for it has the same interface and needs no compiler.

const key = new Uint8Array(4)
const keyWord = new Uint32Array(key.buffer)

/** Writes `length` masked bytes of `source` into `output` from `offset` on. */
export function mask(source: Buffer, maskKey: Buffer, output: Buffer, offset: number, length: number): void {
  source.copy(output, offset, 0, length)
  xor(output, offset, length, maskKey)
}

/** Unmasks in place. Masking is its own opposite. */
export function unmask(buffer: Buffer, maskKey: Buffer): void {
  xor(buffer, 0, buffer.length, maskKey)
}

function xor(bytes: Buffer, offset: number, length: number, maskKey: Buffer): void {
  const end = offset + length
  // Words begin where memory says so, whatever the key's position is by then.
  const firstWord = Math.min(end, offset + (-(bytes.byteOffset + offset) & 3))
  xorBytes(bytes, offset, firstWord, maskKey, 0)
  const done = firstWord - offset
  const count = (end - firstWord) >> 2
  if (count > 0) xorWords(bytes, firstWord, count, maskKey, done)
  xorBytes(bytes, firstWord + count * 4, end, maskKey, done + count * 4)
}

function xorWords(bytes: Buffer, from: number, count: number, maskKey: Buffer, position: number): void {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset + from, count)
  for (let i = 0; i < 4; i += 1) key[i] = maskKey[(position + i) & 3] ?? 0
  const word = keyWord[0] ?? 0
  for (let i = 0; i < count; i += 1) words[i] = (words[i] ?? 0) ^ word
}

function xorBytes(bytes: Buffer, from: number, to: number, maskKey: Buffer, position: number): void {
  for (let i = from; i < to; i += 1) bytes[i] = (bytes[i] ?? 0) ^ (maskKey[(position + i - from) & 3] ?? 0)
}
