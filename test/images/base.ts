/** A base image without a registry: what `node:24-bookworm-slim` would be, of this machine's Node. */
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { DockerEngine } from '../helpers/docker-engine.ts'
import { importFolder } from '../helpers/docker-images.ts'

/** Debian and nothing else. */
export const DEBIAN = 'rclaude-debian'
const BASE = 'rclaude-base'
const MIRROR = 'http://deb.debian.org/debian'
/** Authorities of this machine besides Debian's, without which nothing may be reachable from here. */
const OWN_AUTHORITIES = '/usr/local/share/ca-certificates'
const BUNDLE = '/etc/ssl/certs/ca-certificates.crt'

/** @returns the name of the image; needs root, debootstrap, and Debian's packages within reach */
export function baseImage(engine: DockerEngine): string {
  if (process.getuid?.() !== 0) throw new Error('debootstrap wants root')
  const root = join(engine.directory, 'debian')
  execFileSync('debootstrap', ['--variant=minbase', 'bookworm', root, MIRROR], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  for (const path of ['var/lib/apt/lists', 'var/cache/apt', 'usr/share/doc', 'usr/share/man'])
    rmSync(join(root, path), { recursive: true, force: true })
  importFolder(engine, root, DEBIAN)
  addNode(join(root, 'usr/local'))
  addAuthorities(root)
  importFolder(engine, root, BASE, [`ENV NODE_EXTRA_CA_CERTS=${BUNDLE} SSL_CERT_FILE=${BUNDLE}`])
  rmSync(root, { recursive: true, force: true })
  return BASE
}

/** As Node's own images have it: programs, npm and headers below /usr/local. */
function addNode(target: string): void {
  const node = realpathSync(process.execPath)
  const from = dirname(dirname(node))
  const modules = join(target, 'lib/node_modules')
  mkdirSync(join(target, 'include'), { recursive: true })
  cpSync(node, join(target, 'bin/node'))
  cpSync(join(from, 'include/node'), join(target, 'include/node'), { recursive: true })
  cpSync(join(from, 'lib/node_modules/npm'), join(modules, 'npm'), { recursive: true })
  for (const name of ['npm', 'npx'])
    symlinkSync(`../lib/node_modules/npm/bin/${name}-cli.js`, join(target, 'bin', name))
}

/** update-ca-certificates, which the package runs when it is installed, puts them into the bundle. */
function addAuthorities(root: string): void {
  const own = existsSync(OWN_AUTHORITIES) ? readdirSync(OWN_AUTHORITIES) : []
  mkdirSync(join(root, OWN_AUTHORITIES), { recursive: true })
  for (const name of own) cpSync(join(OWN_AUTHORITIES, name), join(root, OWN_AUTHORITIES, name), { dereference: true })
  mkdirSync(dirname(join(root, BUNDLE)), { recursive: true })
  if (existsSync(BUNDLE)) cpSync(BUNDLE, join(root, BUNDLE), { dereference: true })
  else writeFileSync(join(root, BUNDLE), '')
}
