/** A WebSocket peer that keeps no rules: it writes frames by hand, and reads what comes back. */
import { eventually } from './eventually.ts'
import { head, type RawConnection, rawConnection } from './raw.ts'

export const Opcode = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const

export interface FrameSettings {
  opcode?: number
  /** The last frame of its message. Default true. */
  fin?: boolean
  /** The three reserved bits; 4 says that the message is compressed. */
  rsv?: number
  /** As a client's frames must be. Default true, with a key of zeros. */
  masked?: boolean
  /** What the header says, if not the payload's length. */
  length?: number | bigint
}

export function webSocketFrame(payload: Buffer | string, settings: FrameSettings = {}): Buffer {
  const bytes = Buffer.from(payload)
  const { opcode = Opcode.binary, fin = true, rsv = 0, masked = true, length = bytes.length } = settings
  const first = (fin ? 0x80 : 0) | (rsv << 4) | opcode
  const mask = masked ? 0x80 : 0
  const start = lengthField(length)
  start.writeUInt8((start[0] ?? 0) | mask, 0)
  return Buffer.concat([Buffer.of(first), start, Buffer.alloc(masked ? 4 : 0), bytes])
}

function lengthField(length: number | bigint): Buffer {
  if (length < 126) return Buffer.of(Number(length))
  if (length < 65_536) {
    const field = Buffer.of(126, 0, 0)
    field.writeUInt16BE(Number(length), 1)
    return field
  }
  const field = Buffer.alloc(9, 127)
  field.writeBigUInt64BE(BigInt(length), 1)
  return field
}

export interface RawMessage {
  opcode: number
  payload: Buffer
}

export interface RawWebSocket {
  connection: RawConnection
  send(payload: Buffer | string, settings?: FrameSettings): boolean
  /** All whole frames that came so far. */
  messages(): RawMessage[]
  /** The binary messages' bytes, as one piece. */
  bytes(): Buffer
  /** Resolves with the code of the other side's close frame; 1005 for one without a code, 1006 if none came. */
  closeCode(): Promise<number>
}

/** Dials `path` and waits for the 101. */
export async function rawWebSocket(url: string, path: string, headers: string[]): Promise<RawWebSocket> {
  const connection = await rawConnection(url)
  connection.send(
    head(
      url,
      `GET ${path} HTTP/1.1`,
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
      ...headers,
    ),
  )
  const answer = await connection.until(/\r\n\r\n/)
  if (!answer.startsWith('HTTP/1.1 101 ')) throw new Error(`no WebSocket: ${answer}`)
  const messages = () => parse(Buffer.from(connection.received, 'latin1'))
  return {
    connection,
    messages,
    send: (payload, settings) => connection.socket.write(webSocketFrame(payload, settings)),
    bytes: () =>
      Buffer.concat(
        messages()
          .filter(({ opcode }) => opcode === Opcode.binary)
          .map(({ payload }) => payload),
      ),
    async closeCode() {
      const close = await eventually('the connection is closed', () => {
        const frame = messages().find(({ opcode }) => opcode === Opcode.close)
        return frame ?? (connection.isClosed && { payload: undefined })
      })
      if (close.payload === undefined) return 1006
      return close.payload.length < 2 ? 1005 : close.payload.readUInt16BE(0)
    },
  }
}

/** Frames of a server: not masked, never longer than 4 GiB. */
function parse(received: Buffer): RawMessage[] {
  const messages: RawMessage[] = []
  let at = received.indexOf('\r\n\r\n') + 4
  while (at + 2 <= received.length) {
    const opcode = (received[at] ?? 0) & 15
    let length = (received[at + 1] ?? 0) & 127
    at += 2
    if (length === 126) {
      if (at + 2 > received.length) break
      length = received.readUInt16BE(at)
      at += 2
    } else if (length === 127) {
      if (at + 8 > received.length) break
      length = Number(received.readBigUInt64BE(at))
      at += 8
    }
    if (at + length > received.length) break
    messages.push({ opcode, payload: received.subarray(at, at + length) })
    at += length
  }
  return messages
}
