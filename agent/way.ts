/** The way to the gateway: over loopback, through a proxy, or straight. */
import { isLoopback } from '../host/loopback.ts'
import { proxyFor } from '../host/proxy.ts'
import { ProxyAgent } from '../host/proxy-agent.ts'
import type { ConnectOptions } from '../tunnel/connect.ts'

export interface Way extends Pick<ConnectOptions, 'isLoopback' | 'websocket'> {
  /** To show; undefined without one. */
  proxy?: string
}

/** @throws ProxyError when the variable for a proxy holds none */
export function wayTo(gatewayUrl: string, env: NodeJS.ProcessEnv): Way {
  const proxy = proxyFor(gatewayUrl, env)
  if (proxy === undefined) return { isLoopback: isLoopback(new URL(gatewayUrl).hostname) }
  return {
    proxy: `${proxy.name} (from ${proxy.variable})`,
    websocket: { agent: new ProxyAgent(proxy, gatewayUrl) },
  }
}
