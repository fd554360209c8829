/**
 * A registry on loopback with one image of one layer, which the engine takes without TLS there. It can want a login, or
 * keep its layer back until it is told to give it.
 */
import { createHash } from 'node:crypto'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'

export interface SmallRegistry {
  /** `127.0.0.1:port/` and the name. */
  image: string
  /** `name:password` that it wants from now on. */
  login: string | undefined
  close(): Promise<void>
}

/** @param layer a tar */
export async function startSmallRegistry(layer: Buffer): Promise<SmallRegistry> {
  const zipped = gzipSync(layer)
  const config = Buffer.from(
    JSON.stringify({
      architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
      os: 'linux',
      config: { Entrypoint: ['/nothing'] },
      rootfs: { type: 'layers', diff_ids: [digestOf(layer)] },
    }),
  )
  const kind = 'application/vnd.docker.distribution.manifest.v2+json'
  const part = (mediaType: string, data: Buffer) => ({ mediaType, size: data.length, digest: digestOf(data) })
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: kind,
      config: part('application/vnd.docker.container.image.v1+json', config),
      layers: [part('application/vnd.docker.image.rootfs.diff.tar.gzip', zipped)],
    }),
  )
  const blobs = new Map([config, zipped].map((data) => [digestOf(data), data]))
  const server = createServer((request, response) => {
    const wanted = registry.login && `Basic ${Buffer.from(registry.login).toString('base64')}`
    const path = request.url ?? ''
    if (wanted && request.headers.authorization !== wanted)
      return void answer(response, 401, Buffer.from('{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}'), {
        'www-authenticate': 'Basic realm="small"',
      })
    if (path === '/v2/') return void answer(response, 200, Buffer.from('{}'))
    const blob = blobs.get(path.split('/blobs/')[1] ?? '')
    if (blob !== undefined) return void answer(response, 200, blob)
    if (/^\/v2\/small\/manifests\/(1|latest|sha256:.*)$/.test(path))
      return void answer(response, 200, manifest, { 'content-type': kind, 'docker-content-digest': digestOf(manifest) })
    answer(response, 404, Buffer.from('{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}'))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const registry: SmallRegistry = {
    image: `127.0.0.1:${(server.address() as AddressInfo).port}/small`,
    login: undefined,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  }
  return registry
}

const digestOf = (data: Buffer): string => `sha256:${createHash('sha256').update(data).digest('hex')}`

function answer(response: ServerResponse, status: number, body: Buffer, headers: Record<string, string> = {}): void {
  response
    .writeHead(status, { 'content-type': 'application/json', 'content-length': body.length, ...headers })
    .end(body)
}
