/** The peers by name. */
import type { Peer } from './peer.ts'

/** Loaded when needed: a package that is not installed takes only its own row away. */
export const peers = {
  ws: async (): Promise<Peer> => (await import('./ws-relay.ts')).wsRelay,
  tunnel: async (): Promise<Peer> => (await import('./tunnel.ts')).ourTunnel,
  'yamux-js': async (): Promise<Peer> => (await import('./yamux-js.ts')).yamuxJs,
  libp2p: async (): Promise<Peer> => (await import('./libp2p.ts')).libp2pYamux,
}

export type PeerName = keyof typeof peers
