/** How many attachments of each kind, and starting them. */
import { type Attachment, fired, type Stage } from './attachment.ts'
import { follow, serverSentEvents } from './events.ts'
import { binary, churn, digest, flood, lines, type Runs } from './exec.ts'
import { download, upload } from './files.ts'
import { attachProgram, execProgram, logsProgram } from './programs.ts'

/** Parts of a hundred. Each kind has at least one. */
const SHARES = {
  lines: 34,
  binary: 14,
  digest: 6,
  flood: 4,
  churn: 10,
  download: 10,
  upload: 8,
  follow: 6,
  sse: 4,
  'rclaude exec': 2,
  'rclaude attach': 1,
  'rclaude logs': 1,
}
export type Kind = keyof typeof SHARES
export const MIN_ATTACHMENTS = Object.keys(SHARES).length

export interface FleetOptions {
  attachments: number
  /** What every download reads. */
  content: Buffer
  runs: Runs
  /** Events that the task has so far: some followers begin behind them. */
  lastSeq: number
}

export async function startFleet(stage: Stage, options: FleetOptions): Promise<Attachment[]> {
  const { content, runs, lastSeq } = options
  const make: Record<Kind, (name: string, n: number) => Attachment> = {
    lines: (name) => lines(stage, name),
    binary: (name) => binary(stage, name),
    digest: (name) => digest(stage, name),
    flood: (name) => flood(stage, name),
    churn: (name) => churn(stage, name, runs),
    download: (name) => download(stage, name, content),
    upload: (name) => upload(stage, name),
    follow: (name, n) => follow(stage, name, n % 2 === 0 ? lastSeq : 0),
    sse: (name) => serverSentEvents(stage, name),
    'rclaude exec': (name) => execProgram(stage, name),
    'rclaude attach': (name) => attachProgram(stage, name),
    'rclaude logs': (name) => logsProgram(stage, name),
  }
  const fleet = (Object.entries(share(options.attachments)) as Array<[Kind, number]>).flatMap(([kind, count]) =>
    Array.from({ length: count }, (_, index) => make[kind](`${kind} ${index + 1}`, index + 1)),
  )
  await Promise.all(fleet.map(({ ready }) => ready))
  return fleet
}

/** Largest remainder, after one of each. */
export function share(attachments: number): Record<Kind, number> {
  const kinds = Object.keys(SHARES) as Kind[]
  const total = Object.values(SHARES).reduce((sum, part) => sum + part)
  const wanted = kinds.map((kind) => ({ kind, exact: (SHARES[kind] / total) * attachments }))
  const counts = Object.fromEntries(kinds.map((kind) => [kind, 1])) as Record<Kind, number>
  for (let left = attachments - kinds.length; left > 0; left--) {
    const [most] = wanted.sort((a, b) => b.exact - counts[b.kind] - (a.exact - counts[a.kind]))
    if (most !== undefined) counts[most.kind]++
  }
  return counts
}

export const kindOf = (name: string): string => name.replace(/ \d+$/, '')

/** What went wrong with those that end with the storm, or with the task; and what the others did. */
export async function outcomes(fleet: readonly Attachment[], withinMs: number) {
  const deadline = AbortSignal.timeout(withinMs)
  const late = fired(deadline).then(() => Promise.reject(new Error(`did not end within ${withinMs / 1000} s`)))
  late.catch(() => {})
  const results = await Promise.allSettled(fleet.map(({ done }) => Promise.race([done, late])))
  return fleet.map((one, index) => ({ name: one.name, result: results[index] }))
}
