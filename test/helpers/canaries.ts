/**
 * Canaries: values that are nowhere else, and the looking for them: in what is said and stored, in every usual encoding,
 * and in the arguments and environments of all processes for as long as a test runs.
 */
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { onTestFinished } from 'vitest'

export type Canaries = Record<string, string>

/** @param odd with characters that each encoding writes differently */
export const newCanary = (name: string, odd = false): string => {
  const [a, b] = [randomBytes(9).toString('hex'), randomBytes(9).toString('hex')]
  return odd ? `${name} ${a}/+="ü\\${b}?>~` : `${name}-${a}${b}`
}

/** As it is, as JSON, in a URL, as hex, and the part of each base64 that does not depend on what stands beside it. */
export function formsOf(value: string): string[] {
  const bytes = Buffer.from(value)
  const base64 = [0, 1, 2].flatMap((shift) => {
    const text = Buffer.concat([Buffer.alloc(shift), bytes])
      .toString('base64')
      .replaceAll('=', '')
    const core = text.slice(4, -4)
    return [core, core.replaceAll('+', '-').replaceAll('/', '_')]
  })
  return [value, JSON.stringify(value).slice(1, -1), encodeURIComponent(value), bytes.toString('hex'), ...base64]
}

/** @returns `where: name of the canary`, for each that is there */
export function sightings(canaries: Canaries, where: string, content: string | Buffer): string[] {
  const text = typeof content === 'string' ? Buffer.from(content) : content
  return Object.entries(canaries).flatMap(([name, value]) =>
    formsOf(value).some((form) => text.includes(form)) ? [`${where}: ${name}`] : [],
  )
}

/** In all files below a folder, and in every object of the git repositories there. */
export function sightingsIn(canaries: Canaries, directory: string, except: (path: string) => boolean = () => false) {
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true })
  return entries.flatMap((entry) => {
    const path = join(entry.parentPath, entry.name)
    const name = relative(directory, path)
    if (except(name)) return []
    const inName = sightings(canaries, `name of ${name}`, entry.name)
    if (entry.isFile()) return [...inName, ...sightings(canaries, name, readFileSync(path))]
    if (!entry.isDirectory() || !existsSync(join(path, 'HEAD')) || !existsSync(join(path, 'objects'))) return inName
    const objects = execFileSync('git', ['cat-file', '--batch-all-objects', '--batch'], {
      cwd: path,
      maxBuffer: 256 * 1024 ** 2,
    })
    return [...inName, ...sightings(canaries, `objects of ${name}`, objects)]
  })
}

export interface ProcessWatch {
  /** Of those that must not be where they were seen. */
  seen(): string[]
  looks(): number
}

const LOOK_EVERY_MS = 15

/**
 * Arguments of all processes of the machine; environments of the gateway's descendants, where only the work itself may
 * have the canaries that `isForWork` names.
 */
export function watchProcesses(
  canaries: Canaries,
  gatewayPid: number,
  isForWork: (name: string) => boolean,
): ProcessWatch {
  const seen = new Set<string>()
  let looks = 0
  const look = () => {
    looks++
    for (const pid of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
      const command = read(pid, 'cmdline')
      for (const hit of sightings(canaries, `arguments of ${command.slice(0, 80)}`, command)) seen.add(hit)
      const environment = read(pid, 'environ')
      const found = Object.keys(canaries).filter((name) => environment.includes(canaries[name] ?? ''))
      if (found.length === 0 || !isBelow(pid, gatewayPid)) continue
      const isWork = environment.includes('RCLAUDE_LAUNCH_ID=') && !command.includes('agent.js')
      for (const name of found)
        if (!isWork || !isForWork(name)) seen.add(`environment of ${command.slice(0, 80)}: ${name}`)
    }
  }
  const timer = setInterval(look, LOOK_EVERY_MS)
  onTestFinished(() => clearInterval(timer))
  return { seen: () => [...seen], looks: () => looks }
}

function isBelow(pid: string, ancestor: number): boolean {
  for (let at = Number(pid); at > 1; ) {
    if (at === ancestor) return true
    const stat = read(String(at), 'stat')
    at = Number(stat.slice(stat.lastIndexOf(')') + 4).split(' ')[0] ?? 0)
  }
  return false
}

function read(pid: string, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8').replaceAll('\0', ' ')
  } catch {
    return '' // it ended, or it is somebody else's
  }
}
