/**
 * Which proxy leads to an address, by the variables that every program knows: HTTPS_PROXY, HTTP_PROXY and NO_PROXY, of
 * which the lower-case form comes first, as for curl, git and Node. A loopback address has none, whatever they say.
 */
import { BlockList, isIP } from 'node:net'
import { isLoopback } from './loopback.ts'

type Env = Readonly<Record<string, string | undefined>>

export interface HttpProxy {
  /** With user and password: it is never shown. */
  readonly url: URL
  /** To show: `http://proxy.example.org:3128`. */
  readonly name: string
  /** Where it comes from: `HTTPS_PROXY`. */
  readonly variable: string
}

/** Its message says what the proxy did, which one it is and which variable names it, and never its password. */
export class ProxyError extends Error {
  override readonly name = 'ProxyError'
  /** The same again would end the same: somebody has to change the variable or the proxy. */
  readonly isFinal: boolean

  constructor(message: string, { isFinal = false }: { isFinal?: boolean } = {}) {
    super(message)
    this.isFinal = isFinal
  }
}

/** @throws {ProxyError} when the variable holds no address of a proxy */
export function proxyFor(target: string | URL, env: Env): HttpProxy | undefined {
  const { protocol, hostname, port } = new URL(target)
  const isSecure = protocol === 'https:' || protocol === 'wss:'
  const found = setting(env, isSecure ? 'https_proxy' : 'http_proxy')
  if (found === undefined || isLoopback(hostname)) return undefined
  if (isExempt(setting(env, 'no_proxy')?.value, hostname, Number(port || (isSecure ? 443 : 80)))) return undefined
  return parseProxy(found)
}

/** @param list what NO_PROXY holds: hosts (with all below them), addresses, CIDR blocks, each with a port if wanted; `*` */
export function isExempt(list: string | undefined, host: string, port: number): boolean {
  const name = host
    .toLowerCase()
    .replace(/^\[(.*)\]$/, '$1')
    .replace(/\.$/, '')
  return (list ?? '')
    .toLowerCase()
    .split(/[\s,]+/)
    .some((entry) => entry !== '' && matches(entry, name, port))
}

/**
 * For the programs that a task runs: each variable in both forms, since some read only one, and with loopback, which
 * most would send to the proxy, in NO_PROXY. Empty when no proxy is set.
 */
export function proxyVariables(env: Env): Record<string, string> {
  const proxies = ['http_proxy', 'https_proxy'].flatMap((name) => {
    const found = setting(env, name)
    return found === undefined ? [] : [[name, found.value] as const]
  })
  if (proxies.length === 0) return {}
  const exempt = (setting(env, 'no_proxy')?.value ?? '').split(/[\s,]+/).filter((entry) => entry !== '')
  // curl knows `*` only when it stands alone.
  const noProxy = exempt.includes('*') ? '*' : [...new Set([...exempt, 'localhost', '127.0.0.1', '::1'])].join(',')
  return Object.fromEntries(
    [...proxies, ['no_proxy', noProxy] as const].flatMap(([name, value]) => [
      [name, value],
      [name.toUpperCase(), value],
    ]),
  )
}

/** What must not be shown of what `proxyVariables` hands on: each password as written, as meant, and as `curl -v` shows it. */
export function proxyPasswords(env: Env): string[] {
  const passwords = ['http_proxy', 'https_proxy'].flatMap((name) => {
    const value = setting(env, name)?.value
    const url = value === undefined ? undefined : withScheme(value)
    if (url === undefined || url.password === '') return []
    return [url.password, decoded(url.password), basicOf(url)]
  })
  return [...new Set(passwords)]
}

/** For git, whose curl takes 1080 where no port is written. It holds the password: for git's environment, never its argv. */
export function gitProxyUrl({ url }: HttpProxy): string {
  const login = url.username + url.password === '' ? '' : `${url.username}:${url.password}@`
  return `${url.protocol}//${login}${url.hostname}:${portOf(url)}`
}

export const portOf = (url: URL): number => Number(url.port || (url.protocol === 'https:' ? 443 : 80))

/** The value of `Proxy-Authorization`, when the variable holds a user. */
export function authorizationFor({ url }: HttpProxy): string | undefined {
  return url.username + url.password === '' ? undefined : `Basic ${basicOf(url)}`
}

const basicOf = ({ username, password }: URL): string =>
  Buffer.from(`${decoded(username)}:${decoded(password)}`).toString('base64')

/** What it means that the proxy answered `CONNECT target` with this status. */
export function proxyRefusal(proxy: HttpProxy, target: string, status: number): ProxyError {
  const who = `the proxy ${proxy.name} (from ${proxy.variable})`
  if (status === 407)
    return new ProxyError(
      authorizationFor(proxy) === undefined
        ? `${who} wants a user and a password: set ${proxy.variable} to ${proxy.url.protocol}//USER:PASSWORD@${proxy.url.host}`
        : `${who} does not accept the user and password in ${proxy.variable} (407)`,
      { isFinal: true },
    )
  if (status === 403)
    return new ProxyError(
      `${who} does not let us through to ${target} (403): have it allow that address, or go there directly with NO_PROXY`,
      { isFinal: true },
    )
  return new ProxyError(`${who} did not connect us to ${target}: it answered ${status}`)
}

export const proxyUnreachable = (proxy: HttpProxy, why: string): ProxyError =>
  new ProxyError(`the proxy ${proxy.name} (from ${proxy.variable}) cannot be reached: ${why}`)

/**
 * What git's curl says of a proxy, in our words: `CONNECT tunnel failed, response 407`, `Could not resolve proxy: name`.
 * Of a variable that holds no proxy nothing of git's is said: curl repeats it with its password.
 */
export function gitProxyError(target: string, env: Env, stderr: string): ProxyError | undefined {
  let proxy: HttpProxy | undefined
  try {
    proxy = proxyFor(target, env)
  } catch (error) {
    if (error instanceof ProxyError) return error
    throw error
  }
  if (proxy === undefined) return undefined
  const status = /tunnel failed, response (\d{3})|HTTP code (\d{3}) from proxy|returned error: (407)/.exec(stderr)
  if (status !== null) return proxyRefusal(proxy, new URL(target).host, Number(status[1] ?? status[2] ?? status[3]))
  const unreachable = /Failed to connect[^;\n]*|Could not resolve proxy[^;\n]*/.exec(stderr)
  return unreachable === null ? undefined : proxyUnreachable(proxy, unreachable[0])
}

function setting(env: Env, name: string): { value: string; variable: string } | undefined {
  for (const variable of [name, name.toUpperCase()]) {
    const value = env[variable]?.trim()
    if (value !== undefined && value !== '') return { value, variable }
  }
  return undefined
}

/** Says nothing of the value that it cannot read: part of it may be a password. */
function parseProxy({ value, variable }: { value: string; variable: string }): HttpProxy {
  const url = withScheme(value)
  if (url !== undefined && url.protocol !== 'http:' && url.protocol !== 'https:')
    throw new ProxyError(
      `${variable} names a ${url.protocol}// proxy: only http:// and https:// proxies are known here`,
      {
        isFinal: true,
      },
    )
  if (url === undefined || url.hostname === '' || url.pathname !== '/' || url.search !== '' || url.hash !== '')
    throw new ProxyError(
      `${variable} holds no address of a proxy: expected http://HOST:PORT or http://USER:PASSWORD@HOST:PORT, with special characters of the password percent-encoded`,
      { isFinal: true },
    )
  return { url, name: `${url.protocol}//${url.host}`, variable }
}

function withScheme(text: string): URL | undefined {
  try {
    return new URL(/^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`)
  } catch {
    return undefined
  }
}

function matches(entry: string, host: string, port: number): boolean {
  if (entry === '*') return true
  const isBareIpv6 = isIP(entry.split('/', 1)[0] ?? '') === 6
  const parts = isBareIpv6 ? undefined : /^(\[[^\]]+\]|[^:]+?)(?::(\d+))?$/.exec(entry)
  if (parts?.[2] !== undefined && Number(parts[2]) !== port) return false
  const name = (parts?.[1] ?? entry).replace(/^\[(.*)\]$/, '$1')
  if (isIP(host) !== 0) return isInBlock(name, host)
  const domain = name.replace(/^\*?\./, '').replace(/\.$/, '')
  return domain !== '' && (host === domain || host.endsWith(`.${domain}`))
}

/** `block` may be anything that somebody wrote; what is no address or block holds none. */
function isInBlock(block: string, address: string): boolean {
  const [base = '', bits] = block.split('/')
  const family = isIP(base)
  if (family === 0) return false
  const longest = family === 4 ? 32 : 128
  const prefix = bits === undefined ? longest : /^\d{1,3}$/.test(bits) ? Number(bits) : Number.NaN
  if (!(prefix <= longest)) return false
  const list = new BlockList()
  list.addSubnet(base, prefix, family === 4 ? 'ipv4' : 'ipv6')
  return list.check(address, isIP(address) === 4 ? 'ipv4' : 'ipv6')
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text // a stray percent sign is itself
  }
}
