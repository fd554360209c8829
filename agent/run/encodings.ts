/**
 * A secret as it stands in a URL, a JSON document, a hex dump or anything base64. In base64 the same bytes look
 * different at each of three places, and their ends mix with what stands beside them: looked for is what does not.
 */

/** A shorter piece would be found where nobody put it. */
const MIN_LENGTH = 8

export function encodingsOf(value: string): string[] {
  const bytes = Buffer.from(value, 'utf8')
  const wellFormed = bytes.toString('utf8')
  const encoded = [
    JSON.stringify(value).slice(1, -1),
    encodeURIComponent(wellFormed),
    new URLSearchParams([['', wellFormed]]).toString().slice(1), // as forms do: a blank is a plus
    bytes.toString('hex'),
    ...[0, 1, 2].flatMap((place) => {
      const core = base64Core(bytes, place)
      return [core, core.replaceAll('+', '-').replaceAll('/', '_')]
    }),
  ]
  return [...new Set(encoded)].filter((one) => one !== value && one.length >= MIN_LENGTH)
}

/** @param place bytes before it, modulo 3 */
function base64Core(bytes: Buffer, place: number): string {
  const text = Buffer.concat([Buffer.alloc(place), bytes]).toString('base64')
  return text.slice(Math.ceil((place * 8) / 6), Math.floor(((place + bytes.length) * 8) / 6))
}
