/**
 * What is in the bundles, by their source maps: for the licences, which have to travel with the code, and for the SBOM,
 * which has to name every package of them.
 */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { createGzip } from 'node:zlib'
import { pack } from 'tar-stream'
import { Refusal, run } from './run.mjs'

const LICENCE_FILE = /^(licen[cs]e|copying|notice)/i

/** @returns name, version, licence and folder of every npm package with code in dist/, by name */
export function bundledPackages(dist, modules) {
  const sources = readdirSync(dist, { recursive: true })
    .filter((file) => /\.c?js\.map$/.test(file))
    .flatMap((file) => JSON.parse(readFileSync(join(dist, file), 'utf8')).sources)
  const paths = sources.flatMap(
    (source) => /node_modules\/((?:.*node_modules\/)?(?:@[^/]+\/)?[^/]+)/.exec(source)?.[1] ?? [],
  )
  return [...new Set(paths)].sort().map((path) => {
    const folder = join(modules, path)
    const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
    return { name, version, license, folder }
  })
}

/** @throws Refusal for a package that says no licence */
export function licencesOf(packages) {
  const parts = packages.map(({ name, version, license, folder }) => {
    if (typeof license !== 'string') throw new Refusal(`${name} ${version} is bundled and names no licence`)
    const texts = readdirSync(folder)
      .filter((file) => LICENCE_FILE.test(file))
      .sort()
      .map((file) => readFileSync(join(folder, file), 'utf8').trim())
    const text =
      texts.length > 0 ? texts.join('\n\n') : `(The package has no licence text; its package.json says ${license}.)`
    return `${'='.repeat(80)}\n${name} ${version} (${license})\n${'='.repeat(80)}\n\n${text}\n`
  })
  return `The bundles of rclaude contain code of these packages.\n\n${parts.join('\n')}`
}

/** CycloneDX, by npm from the lock file; its serial number and time are the commit's. @throws Refusal when a bundled package is not in it */
export function sbomOf(packages, checkout, commit) {
  const sbom = withoutDevelopment(
    JSON.parse(run('npm', ['sbom', '--sbom-format', 'cyclonedx', '--package-lock-only'], { cwd: checkout })),
  )
  const listed = new Set(sbom.components.map(({ purl }) => decodeURIComponent(purl)))
  const missing = packages.filter(({ name, version }) => !listed.has(`pkg:npm/${name}@${version}`))
  if (missing.length > 0)
    throw new Refusal(`the SBOM does not list what is bundled: ${missing.map(({ name }) => name).join(', ')}`)
  const hex = createHash('sha256').update(commit.id).digest('hex')
  const uuid = [hex.slice(0, 8), hex.slice(8, 12), `4${hex.slice(13, 16)}`, `8${hex.slice(17, 20)}`, hex.slice(20, 32)]
  sbom.serialNumber = `urn:uuid:${uuid.join('-')}`
  sbom.metadata.timestamp = commit.date.toISOString()
  sbom.metadata.component.name = 'rclaude' // npm takes the name of the folder
  return `${JSON.stringify(sbom, null, 2)}\n`
}

/** `npm sbom --omit dev` (npm 11) leaves out yaml, zod and others that a development package asks for as well. */
function withoutDevelopment(sbom) {
  const isForDevelopment = ({ properties = [] }) =>
    properties.some(({ name, value }) => name === 'cdx:npm:package:development' && value === 'true')
  const components = sbom.components.filter((component) => !isForDevelopment(component))
  const kept = new Set([sbom.metadata.component['bom-ref'], ...components.map((component) => component['bom-ref'])])
  const dependencies = sbom.dependencies
    .filter(({ ref }) => kept.has(ref))
    .map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter((other) => kept.has(other)) }))
  return { ...sbom, components, dependencies }
}

/** The programs as they are, for machines without npm: sorted, owned by root, as old as the commit. */
export async function tarBundles(checkout, version, mtime) {
  const dist = readdirSync(join(checkout, 'dist'), { recursive: true }).map((file) => `dist/${file}`)
  const files = [...dist, 'config.example.yaml', 'README.md', 'CHANGELOG.md', 'LICENSE']
    .filter((file) => statSync(join(checkout, file)).isFile())
    .sort()
  const tar = pack()
  for (const file of files) {
    const mode = /^dist\/[a-z]+\.js$/.test(file) ? 0o755 : 0o644
    tar.entry({ name: `rclaude-${version}/${file}`, mode, mtime }, readFileSync(join(checkout, file)))
  }
  tar.finalize()
  return buffer(tar.pipe(createGzip({ level: 9 })))
}
