/**
 * Who asks, for the audit log. Whoever connects may write anything into X-Forwarded-For, so it counts only as far as
 * trusted proxies wrote it: from its end backwards, up to the first address that is none of theirs. Of the two headers
 * only the one that the proxies are known to write is read: the other one goes through them as the client sent it.
 */
import type { IncomingMessage } from 'node:http'
import { BlockList, isIP } from 'node:net'
import type { GatewayConfig } from '../../protocol/config.ts'

export type AddressOf = (request: IncomingMessage) => string

export function createAddressOf(
  listen: Pick<GatewayConfig['listen'], 'trustedProxies' | 'forwardedHeader'>,
): AddressOf {
  const trusted = blockListOf(listen.trustedProxies)
  const isTrusted = (address: string) => isIP(address) !== 0 && trusted.check(address, familyOf(address))
  const hopsOf = listen.forwardedHeader === 'forwarded' ? hopsOfForwarded : hopsOfXForwardedFor
  return (request) => {
    let address = addressIn(request.socket.remoteAddress ?? '') ?? 'unknown'
    if (!isTrusted(address)) return address
    for (const hop of hopsOf(request).reverse()) {
      const before = addressIn(hop)
      if (before === undefined) break // the proxy does not say: it is the last that is known
      address = before
      if (!isTrusted(address)) break
    }
    return address
  }
}

/** RFC 7239, 4: `for=192.0.2.60;proto=https, for="[2001:db8::1]:4711"`; a comma inside quotes separates nothing. */
function hopsOfForwarded({ headers }: IncomingMessage): string[] {
  const elements = String(headers.forwarded ?? '').match(/(?:[^,"]|"(?:[^"\\]|\\.)*")+/g) ?? []
  return elements.map((element) => /(?:^|;)\s*for\s*=\s*"?([^";\s]*)/i.exec(element.trim())?.[1] ?? '')
}

const hopsOfXForwardedFor = ({ headers }: IncomingMessage): string[] => {
  const text = String(headers['x-forwarded-for'] ?? '')
  return text === '' ? [] : text.split(',')
}

/** Without port, brackets and zone; an IPv4 address as such, also where a socket of IPv6 names it. */
function addressIn(text: string): string | undefined {
  const bare = /^\[([^\]]*)\](?::\d+)?$/.exec(text.trim())?.[1] ?? text.trim().replace(/^([\d.]+):\d+$/, '$1')
  const address = bare.replace(/%.*$/, '').replace(/^::ffff:(?=\d+\.)/i, '')
  return isIP(address) === 0 ? undefined : address
}

function blockListOf(blocks: readonly string[]): BlockList {
  const list = new BlockList()
  for (const block of blocks) {
    const [base = '', bits] = block.split('/')
    list.addSubnet(base, bits === undefined ? (isIP(base) === 4 ? 32 : 128) : Number(bits), familyOf(base))
  }
  return list
}

const familyOf = (address: string) => (isIP(address) === 4 ? 'ipv4' : 'ipv6')
