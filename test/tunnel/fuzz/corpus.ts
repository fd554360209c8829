// The kept inputs on disk: corpus/<target>-<what it comes to>-<hash>.bin. A run's harvest is cut down to few, small ones
// that together still reach nearly everything. What once showed a bug is called <target>-bug-<which>.bin and stays.

import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { execute } from './engine.ts'
import { Features } from './features.ts'
import type { Target } from './target.ts'

/** Three targets stay below 200 files. */
const MAX_FILES_PER_TARGET = 60

export function loadCorpus(directory: string, target: Target): Buffer[] {
  const names = readdirSync(directory).filter((name) => name.startsWith(`${target.name}-`) && name.endsWith('.bin'))
  return names.sort().map((name) => readFileSync(join(directory, name)))
}

/** Replaces the target's files, but not those of bugs, by the best of `inputs`; returns how many there are. */
export async function saveCorpus(directory: string, target: Target, inputs: readonly Buffer[]): Promise<number> {
  const chosen = await choose(target, inputs)
  for (const name of readdirSync(directory))
    if (name.startsWith(`${target.name}-`) && !name.startsWith(`${target.name}-bug-`)) rmSync(join(directory, name))
  for (const { input, wanted } of chosen) {
    const small = await minimise(target, input, wanted)
    const { outcome } = await look(target, small)
    writeFileSync(join(directory, nameOf(target, small, outcome)), small)
  }
  return chosen.length
}

/** Writes what made a target fail; returns the file. */
export function saveCrash(directory: string, target: string, input: Buffer): string {
  mkdirSync(directory, { recursive: true })
  const file = join(directory, `${target}-crash-${hashOf(input)}.bin`)
  writeFileSync(file, input)
  return file
}

/** The target that a file of ours belongs to. */
export function targetOf(file: string, targets: readonly Target[]): Target {
  const target = targets.find(({ name }) => basename(file).startsWith(`${name}-`))
  if (target !== undefined) return target
  const names = targets.map(({ name }) => `${name}-`).join(', ')
  throw new Error(`${file} belongs to no target: its name must begin with one of ${names}`)
}

/** `input` with as few pieces as it can do with while `isStillSo`. */
export async function shrink(
  target: Target,
  input: Buffer,
  isStillSo: (input: Buffer) => Promise<boolean>,
): Promise<Buffer> {
  let best = input
  for (let pieces = 32; pieces >= 1; pieces >>= 1) {
    const span = pieces * target.unitBytes
    for (let at = target.headerBytes; at < best.length; ) {
      const less = Buffer.concat([best.subarray(0, at), best.subarray(at + span)])
      if (await isStillSo(less)) best = less
      else at += span
    }
  }
  return best
}

interface Chosen {
  readonly input: Buffer
  /** The features that it was chosen for. */
  readonly wanted: ReadonlySet<number>
}

/** A greedy cover: each time the input that adds most, the shorter one of two that add the same. */
async function choose(target: Target, inputs: readonly Buffer[]): Promise<Chosen[]> {
  const open: { input: Buffer; hit: Set<number> }[] = []
  for (const input of inputs) open.push({ input, hit: (await look(target, input)).hit })
  const chosen: Chosen[] = []
  const covered = new Set<number>()
  while (chosen.length < MAX_FILES_PER_TARGET) {
    let best: Chosen | undefined
    for (const { input, hit } of open) {
      const wanted = new Set([...hit].filter((feature) => !covered.has(feature)))
      const isBetter =
        best === undefined ||
        wanted.size > best.wanted.size ||
        (wanted.size === best.wanted.size && input.length < best.input.length)
      if (wanted.size > 0 && isBetter) best = { input, wanted }
    }
    if (best === undefined) break
    chosen.push(best)
    for (const feature of best.wanted) covered.add(feature)
  }
  return chosen
}

/** Keeps nine tenths of what the input was chosen for: the rest are mostly odd successions that cost many pieces. */
async function minimise(target: Target, input: Buffer, wanted: ReadonlySet<number>): Promise<Buffer> {
  return shrink(target, input, async (less) => {
    const { hit } = await look(target, less)
    const left = [...wanted].filter((feature) => hit.has(feature)).length
    return left >= wanted.size * 0.9
  })
}

async function look(target: Target, input: Buffer): Promise<{ outcome: string; hit: Set<number> }> {
  const features = new Features()
  const outcome = await execute(target, input, features)
  return { outcome, hit: new Set(features.hit) }
}

function nameOf(target: Target, input: Buffer, outcome: string): string {
  const slug = outcome.toLowerCase().replace(/[^a-z0-9]+/g, '-')
  return `${target.name}-${slug.slice(0, 60).replace(/-+$/, '')}-${hashOf(input)}.bin`
}

const hashOf = (input: Buffer): string => createHash('sha256').update(input).digest('hex').slice(0, 8)
