/**
 * All of it, as text.
 * @param tooLong what is thrown when it is longer
 */
export async function readAtMost(
  maxBytes: number,
  content: AsyncIterable<Uint8Array>,
  tooLong: () => Error,
): Promise<string> {
  const parts: Uint8Array[] = []
  let length = 0
  for await (const part of content) {
    length += part.length
    if (length > maxBytes) throw tooLong()
    parts.push(part)
  }
  return Buffer.concat(parts).toString('utf8')
}
