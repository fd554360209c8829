/** Whether an address can only be this machine: there is no way to it, so nobody listens on it and no proxy stands in it. */
import { BlockList, isIP } from 'node:net'

const own = new BlockList()
own.addSubnet('127.0.0.0', 8)
own.addAddress('::1', 'ipv6')

/** @param host a name or an address, with or without brackets; `127.example.com` is a name like any other */
export function isLoopback(host: string): boolean {
  const name = host.toLowerCase().replace(/^\[(.*)\]$/, '$1')
  const family = isIP(name)
  return family === 0 ? name === 'localhost' : own.check(name, family === 4 ? 'ipv4' : 'ipv6')
}
