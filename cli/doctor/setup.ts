/**
 * What has to be there, one check each: a fact when it is, the sentence that mends it when it is not. `doctor` makes all
 * of them, `init` those that a first run needs.
 */
import { execFile } from 'node:child_process'
import { access, constants, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { isLoopback } from '../../host/loopback.ts'
import { findProgram, foldersOf } from '../../host/programs.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import type { Finding } from '../../protocol/finding.ts'
import { MODEL_KINDS } from '../../protocol/model.ts'
import { type GatewayInfo, routes } from '../../protocol/routes.ts'
import { formatBytes } from '../../protocol/units.ts'
import { PROTOCOL_VERSION, VERSION } from '../../protocol/version.ts'
import type { Gateway } from '../api.ts'
import { profileFromEnvironment } from '../credentials.ts'
import { gatewayDirectory } from '../directories.ts'
import { proxyTo } from '../network.ts'
import { variable, type World } from '../world.ts'
import { LOW_DISK_BYTES } from './machine.ts'

const execFileP = promisify(execFile)

const NODE_NEEDED = [20, 19] as const
/** `git merge-tree --write-tree`, with which `apply` merges, came in 2.38. */
const GIT_NEEDED = [2, 38] as const
const COMMAND_LIMIT_MS = 15_000
const MAX_CLOCK_SKEW_MS = 60_000

export function checkNode(): Finding {
  const found = process.versions.node
  const fix = `install Node.js ${NODE_NEEDED.join('.')} or newer`
  return { name: 'node', ok: atLeast(found, NODE_NEEDED), detail: found, fix }
}

export async function checkGit(world: World): Promise<Finding> {
  const needed = GIT_NEEDED.join('.')
  const output = await runQuietly('git', ['--version'], world)
  const version = /\d+\.\d+(\.\d+)?/.exec(output ?? '')?.[0]
  if (version === undefined)
    return { name: 'git', ok: false, detail: 'not found', fix: `install git ${needed} or newer` }
  return { name: 'git', ok: atLeast(version, GIT_NEEDED), detail: version, fix: `install git ${needed} or newer` }
}

export async function checkClaude(world: World): Promise<Finding> {
  const path =
    variable(world, 'RCLAUDE_CLAUDE') ??
    (await findProgram('claude', foldersOf(world.env.PATH))) ??
    (await bundledClaude(world))
  const fix = 'install it with npm install -g @anthropic-ai/claude-code (a gateway elsewhere has its own)'
  if (path === undefined) return { name: 'claude', ok: false, detail: 'Claude Code was not found on this machine', fix }
  const version = await runQuietly(path, ['--version'], world)
  if (version === undefined) return { name: 'claude', ok: false, detail: `${path} does not start`, fix }
  return { name: 'claude', ok: true, detail: `${version.trim().split('\n')[0]} (${path})` }
}

/** Where npm puts it when it is installed beside rclaude: in a node_modules/.bin on the way up. */
async function bundledClaude(world: World): Promise<string | undefined> {
  for (let folder = world.programs; ; folder = dirname(folder)) {
    const found = await findProgram(join(folder, 'node_modules', '.bin', 'claude'), [])
    if (found !== undefined || folder === dirname(folder)) return found
  }
}

export async function checkCredentials(world: World, info: GatewayInfo | undefined): Promise<Finding> {
  const name = 'credentials'
  const found = await profileFromEnvironment(world).catch((error: Error) => error)
  if (found instanceof Error) return { name, ok: false, detail: found.message }
  if (found !== undefined) {
    const names = Object.keys(found.secrets)
    const what = names.length > 0 ? names.join(', ') : 'the role of the machine'
    return { name, ok: true, detail: `${MODEL_KINDS[found.settings.kind].summary}: ${what} from the environment` }
  }
  if (info?.modelCredentials.includes('claude'))
    return { name, ok: true, detail: 'the gateway has some, see rclaude model ls' }
  return {
    name,
    ok: false,
    detail: 'Claude Code has none',
    fix: 'set ANTHROPIC_API_KEY, or CLAUDE_CODE_OAUTH_TOKEN (which `claude setup-token` prints)',
  }
}

export async function checkDisk(world: World): Promise<Finding> {
  const places = [tmpdir(), dirname(gatewayDirectory(world))]
  const free = await Promise.all(places.map(freeBytes))
  const least = Math.min(...free.filter((bytes) => bytes !== undefined))
  if (!Number.isFinite(least)) return { name: 'disk', ok: true, detail: 'cannot tell' }
  return {
    name: 'disk',
    ok: least >= LOW_DISK_BYTES,
    detail: `${formatBytes(least)} free`,
    fix: `free some space: snapshots and results need at least ${formatBytes(LOW_DISK_BYTES)} in ${places.join(' and ')}`,
  }
}

async function freeBytes(path: string): Promise<number | undefined> {
  for (let folder = path; ; folder = dirname(folder)) {
    const disk = await statfs(folder).catch(() => undefined) // may not exist yet: then its parent
    if (disk !== undefined) return disk.bavail * disk.bsize
    if (folder === dirname(folder)) return undefined
  }
}

/** Connection, token, versions and clock. Stops at the first that fails: the rest would only repeat it. */
export async function checkGateway(
  world: Pick<World, 'env'>,
  connect: () => Promise<Gateway>,
  now: () => number = Date.now,
): Promise<{ findings: Finding[]; info?: GatewayInfo }> {
  let gateway: Gateway
  try {
    gateway = await connect()
  } catch (error) {
    return { findings: [failed('gateway', error, 'rclaude gateway start, or rclaude login URL')] }
  }
  const reached: Finding = { name: 'gateway', ok: true, detail: `${gateway.url} (from ${gateway.from})` }
  const way = proxyFinding(world, gateway.url)
  try {
    const before = now()
    const response = await gateway.client.raw(routes.ready)
    const findings = [way, reached, clockFinding(response.headers.get('date'), (before + now()) / 2)]
    const [me, info] = await Promise.all([gateway.client.call(routes.me), gateway.client.call(routes.info)])
    findings.push({ name: 'token', ok: true, detail: `${me.user} (${me.role}), "${me.tokenName}"` })
    findings.push(versionFinding(info))
    if (info.held !== undefined)
      findings.push({ name: 'restore', ok: false, detail: info.held.message, fix: 'rclaude gateway confirm-restore' })
    return { findings, info }
  } catch (error) {
    if (error instanceof RclaudeError && error.code === 'unauthenticated')
      return { findings: [way, reached, failed('token', error, `rclaude login ${gateway.url}`)] }
    return {
      findings: [way, failed('gateway', error, 'is it running, and is the address right? See rclaude gateway status')],
    }
  }
}

/** Asked for the one address: NO_PROXY decides by it. */
function proxyFinding({ env }: Pick<World, 'env'>, url: string): Finding {
  const proxy = proxyTo(url, env)
  const none = isLoopback(new URL(url).hostname)
    ? 'none: the gateway is on this machine'
    : 'none: straight to the gateway'
  return { name: 'proxy', ok: true, detail: proxy === undefined ? none : `${proxy.name} (from ${proxy.variable})` }
}

/** Node only warns, and the first that fails is a certificate that nobody seems to have signed. */
export async function checkAuthorities({ env }: Pick<World, 'env'>): Promise<Finding[]> {
  const file = variable({ env }, 'NODE_EXTRA_CA_CERTS')
  if (file === undefined) return []
  const ok = await access(file, constants.R_OK).then(
    () => true,
    () => false,
  )
  const detail = `${ok ? 'further ones' : 'cannot read those'} of ${file} (from NODE_EXTRA_CA_CERTS)`
  return [{ name: 'authorities', ok, detail, fix: 'name a readable PEM file, or unset the variable' }]
}

function clockFinding(date: string | null, nowMs: number): Finding {
  const skewMs = date === null ? Number.NaN : Math.abs(Date.parse(date) - nowMs)
  if (Number.isNaN(skewMs)) return { name: 'clock', ok: true, detail: 'the gateway does not tell its time' }
  return {
    name: 'clock',
    ok: skewMs < MAX_CLOCK_SKEW_MS,
    detail: skewMs < 2_000 ? 'agrees with the gateway' : `${Math.round(skewMs / 1000)} s off the gateway's`,
    fix: 'set the clocks of this machine and of the gateway by NTP: ages and expiries are wrong otherwise',
  }
}

function versionFinding(info: GatewayInfo): Finding {
  const { oldest, newest } = info.protocol
  const ok = oldest <= PROTOCOL_VERSION && PROTOCOL_VERSION <= newest
  const older = PROTOCOL_VERSION < oldest ? 'this command' : 'the gateway'
  return {
    name: 'versions',
    ok,
    detail: `rclaude ${VERSION}, gateway ${info.version}`,
    fix: `they speak different protocols: upgrade ${older}`,
  }
}

const failed = (name: string, error: unknown, fix: string): Finding => ({
  name,
  ok: false,
  detail: error instanceof Error ? error.message : String(error),
  fix,
})

async function runQuietly(program: string, args: string[], world: World): Promise<string | undefined> {
  try {
    const { stdout } = await execFileP(program, args, { env: world.env, timeout: COMMAND_LIMIT_MS })
    return stdout
  } catch {
    return undefined // not there, or it does not start: both are the answer "no"
  }
}

function atLeast(version: string, [major, minor]: readonly [number, number]): boolean {
  const [foundMajor = 0, foundMinor = 0] = version.split('.').map(Number)
  return foundMajor > major || (foundMajor === major && foundMinor >= minor)
}
