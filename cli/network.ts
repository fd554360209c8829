/** The way to a gateway: straight, or through the proxy that the environment names. What a proxy needs loads only then. */
import type { Agent } from 'node:http'
import { type HttpProxy, ProxyError, proxyFor } from '../host/proxy.ts'
import { type Client, createClient } from '../protocol/client.ts'
import { RclaudeError } from '../protocol/errors.ts'
import { VERSION } from '../protocol/version.ts'
import type { World } from './world.ts'

/** @throws {RclaudeError} `invalid` when the variable holds no address of a proxy */
export function proxyTo(url: string, env: World['env']): HttpProxy | undefined {
  try {
    return proxyFor(url, env)
  } catch (error) {
    if (error instanceof ProxyError) throw new RclaudeError('invalid', error.message, { cause: error })
    throw error
  }
}

/** @param wrap puts something around each call */
export const clientFor = (
  world: Pick<World, 'env'>,
  url: string,
  token: string,
  wrap: (plain: typeof fetch) => typeof fetch = (plain) => plain,
): Client => createClient({ baseUrl: url, token, version: VERSION, fetch: wrap(fetchFor(world, url)) })

/** For what is at `url` and below it. @throws {RclaudeError} `invalid`, see above */
export function fetchFor(world: Pick<World, 'env'>, url: string): typeof fetch {
  const proxy = proxyTo(url, world.env)
  if (proxy === undefined) return fetch
  let fetching: Promise<typeof fetch> | undefined
  return async (...call) => {
    fetching ??= import('../host/proxied-fetch.ts').then(({ proxiedFetch }) => proxiedFetch(proxy, url))
    return (await fetching)(...call)
  }
}

/** For WebSockets to the gateway; undefined when the way is straight. */
export async function agentFor(world: Pick<World, 'env'>, url: string): Promise<Agent | undefined> {
  const proxy = proxyTo(url, world.env)
  return proxy && new (await import('../host/proxy-agent.ts')).ProxyAgent(proxy, url)
}
