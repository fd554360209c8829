// The public face of the tunnel: one object per connection, the same on both ends.
//
//   const tunnel = createTunnel(webSocketTransport(ws), { side: 'server', ...OWN_PEER })
//   tunnel.onStream((stream) => httpServer.emit('connection', stream))
//   const stream = tunnel.open()
//   console.log((await tunnel.closed).message)
//
// createTunnel starts reading at once; streams that the peer opens before onStream() was called wait for it.

import { type TunnelOptions, withDefaults } from './options.ts'
import { Session } from './session.ts'
import type { Transport } from './transport.ts'
import type { Tunnel } from './types.ts'

export { OWN_PEER, type TunnelOptions } from './options.ts'
export type { CloseReason, Tunnel, TunnelStats } from './types.ts'

export function createTunnel(transport: Transport, options: TunnelOptions): Tunnel {
  return new Session(transport, withDefaults(options))
}
