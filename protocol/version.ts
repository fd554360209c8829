/**
 * Which protocol this build speaks. CLI, gateway and agent each send `Rclaude-Protocol` (what they speak) and
 * `Rclaude-Version` (their release) on every request and tunnel dial; the other side refuses what it cannot serve with
 * `version_mismatch`, whose message names the side to upgrade.
 */
export const PROTOCOL_VERSION = 1
/** Oldest protocol this build still serves. */
export const PROTOCOL_OLDEST = 1

export const PROTOCOL_HEADER = 'rclaude-protocol'
export const VERSION_HEADER = 'rclaude-version'
/** On the gateway's answers to a dial: its id. */
export const GATEWAY_HEADER = 'rclaude-gateway'
/** On answers to a client whose token expires: when, in ISO 8601. */
export const EXPIRES_HEADER = 'rclaude-token-expires'
/** What a side can do beyond the base protocol, comma separated: sent with the agent's dial, and in `GET /v1/info`. */
export const CAPABILITIES_HEADER = 'rclaude-capabilities'
export const GATEWAY_CAPABILITIES = [
  'events',
  'git',
  'workspace-tar',
  'workspace-bundle',
  'artifacts',
  'exec',
  'resume',
  'ports',
] as const
export const AGENT_CAPABILITIES = [
  'processes',
  'attach',
  'exec',
  'files',
  'checkpoints',
  'artifacts',
  'resume',
  'ports',
] as const

interface ProtocolRange {
  oldest: number
  newest: number
}

/** What a side says that it speaks: `2`, or `1-2` when it can serve its neighbour of the release before as well. */
export const protocolHeader = ({ oldest, newest }: ProtocolRange): string =>
  oldest === newest ? String(newest) : `${oldest}-${newest}`

const OWN: ProtocolRange = { oldest: PROTOCOL_OLDEST, newest: PROTOCOL_VERSION }
/** The value of our own PROTOCOL_HEADER. */
export const OWN_PROTOCOLS: string = protocolHeader(OWN)

/** Undefined when there is a protocol that both speak, otherwise a sentence that names the side to upgrade. */
export function protocolMismatch(
  us: string,
  them: string,
  peer: string | undefined,
  own: ProtocolRange = OWN,
): string | undefined {
  if (peer === undefined) return undefined // curl and browsers state none and take what they get
  const match = /^(\d{1,6})(?:-(\d{1,6}))?$/.exec(peer)
  if (match === null) return `${them} sent an unreadable protocol version "${peer.slice(0, 20)}"`
  const oldest = Number(match[1])
  const newest = Number(match[2] ?? match[1])
  if (newest < own.oldest)
    return `${them} speaks protocol ${newest}, ${us} needs ${own.oldest} or newer: upgrade ${them}`
  if (oldest > own.newest) return `${them} speaks protocol ${oldest}, ${us} only ${own.newest}: upgrade ${us}`
  return undefined
}

declare const __RCLAUDE_VERSION__: string
/** This release; the bundler puts it in. */
export const VERSION: string = typeof __RCLAUDE_VERSION__ === 'string' ? __RCLAUDE_VERSION__ : '0.0.0-source'
