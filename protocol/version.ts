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
] as const
export const AGENT_CAPABILITIES = [
  'processes',
  'attach',
  'exec',
  'files',
  'checkpoints',
  'artifacts',
  'resume',
] as const

/** Undefined when `peer` can be served, otherwise a sentence that names the side to upgrade. */
export function protocolMismatch(us: string, them: string, peer: string | undefined): string | undefined {
  if (peer === undefined) return undefined // curl and browsers state none and take what they get
  const version = Number(peer)
  if (!Number.isInteger(version)) return `${them} sent an unreadable protocol version "${peer.slice(0, 20)}"`
  if (version < PROTOCOL_OLDEST)
    return `${them} speaks protocol ${version}, ${us} needs ${PROTOCOL_OLDEST} or newer: upgrade ${them}`
  if (version > PROTOCOL_VERSION)
    return `${them} speaks protocol ${version}, ${us} only ${PROTOCOL_VERSION}: upgrade ${us}`
  return undefined
}

declare const __RCLAUDE_VERSION__: string
/** This release; the bundler puts it in. */
export const VERSION: string = typeof __RCLAUDE_VERSION__ === 'string' ? __RCLAUDE_VERSION__ : '0.0.0-source'
