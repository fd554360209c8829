/**
 * One pass: look at both folders, compare, fetch and send what differs, and remember what both hold now. A pass that was cut
 * is begun again, and finds done what was done.
 */
import { isLeftOut, type Selection } from '../../host/tree/list.ts'
import { type BytePath, toText, toWire } from '../../host/tree/names.ts'
import type { Tree } from '../../host/tree/tree.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import { type FarFolder, type Manifest, readManifest } from './far.ts'
import type { Memory } from './memory.ts'
import { fillIds, isCaseBlind, makeNear, type NearScan, openNear, scanNear } from './near.ts'
import { type Action, makePlan, type Plan, type Rules } from './plan.ts'
import { changeNear, receiveFiles } from './receive.ts'
import type { Run } from './run.ts'
import { sendChanges } from './send.ts'
import { emptyTally, joined, type Tally } from './tally.ts'

/** Files that move on under our hands are tried so often. */
const PASSES = 3

export interface SyncOptions {
  /** The near folder. */
  directory: string
  far: FarFolder
  memory: Memory
  selection: Selection
  rules: Rules
  dryRun: boolean
  /** Delete although one side is empty. */
  force: boolean
  umask: number
  now(): Date
  /** For `-v`: what was done, or would be, to which path. */
  onDone(what: string, path: BytePath): void
  /** Two names that differ only in case are one file here; found out unless said. */
  caseBlind?: boolean
}

/** Passes until nothing moves on any more. What does to the end is told as a conflict. */
export async function syncOnce(options: SyncOptions): Promise<Tally> {
  let all = emptyTally()
  for (let pass = 1; ; pass++) {
    const { tally, reasons } = await onePass(options)
    all = joined(all, tally)
    if (tally.again.length === 0 || tally.full || options.dryRun) return all
    if (pass < PASSES) continue
    for (const path of new Set(tally.again))
      all.conflicts.push({ path, message: reasons.get(path) ?? 'it changes all the time' })
    return all
  }
}

async function onePass(options: SyncOptions): Promise<{ tally: Tally; reasons: Map<BytePath, string> }> {
  const { memory, far, selection, rules } = options
  const tree = openTree(options)
  try {
    const asking = readManifest(far, selection, { known: memory.farDigest })
    asking.catch(() => {}) // it is awaited below, unless our own side fails first
    memory.load()
    const near = tree === undefined ? NOTHING : await scanNear(tree, selection, memory.near, far.signal)
    const manifest = await asking
    learnFar(manifest, options)
    const wants = (path: BytePath) =>
      memory.far.has(path) || memory.agreed.has(path) || (rules.direction === 'from' && rules.delete)
    if (tree !== undefined) await fillIds(tree, near, memory.near, wants, far.signal)
    const plan = planFor(options, near, manifest)
    refuseToEmpty(options, plan, near)
    const run = startRun(options, tree, plan, near, manifest)
    await dropHidden(run, plan, options)
    noteLeft(run, plan)
    if (options.dryRun) for (const action of plan.actions) tell(run, action)
    else if (tree !== undefined) await execute(run, plan.actions, near, options)
    run.tally.same = plan.same + run.tally.sent.files + run.tally.received.files
    return run
  } finally {
    tree?.close()
  }
}

const NOTHING: NearScan = { entries: new Map(), skipped: [] }

function openTree({ directory, rules, dryRun }: SyncOptions): Tree | undefined {
  const tree = openNear(directory)
  if (tree !== undefined) return tree
  if (rules.direction !== 'from')
    throw new RclaudeError(
      'invalid',
      `there is no folder ${directory}: name one that is there, or say --from to make it`,
    )
  return dryRun ? undefined : makeNear(directory)
}

function learnFar(manifest: Manifest, { memory, rules, far }: SyncOptions): void {
  if (!manifest.exists && rules.direction === 'from')
    throw new RclaudeError('not_found', `there is no folder "${toText(far.folder)}" in the workspace of ${far.taskId}`)
  if (manifest.entries !== undefined) memory.replaceFar(manifest.entries, manifest.digest)
}

function planFor({ memory, selection, rules }: SyncOptions, near: NearScan, manifest: Manifest): Plan {
  const skipped = new Set([...near.skipped, ...manifest.skipped].map(({ path }) => path))
  const isLeft = isLeftOut(selection.exclude)
  const mayBeOut = skipped.size > 0 || selection.exclude.length > 0
  const sides = { near: near.entries, far: memory.far, agreed: memory.agreed }
  return makePlan(sides, rules, (path) => mayBeOut && (skipped.has(path) || isLeft(path)))
}

/** An unmounted disk or a wrong folder must not empty the other side. */
function refuseToEmpty({ rules, force, directory, far, memory }: SyncOptions, plan: Plan, near: NearScan): void {
  if (!rules.delete || force) return
  const wants = (what: Action['do']) => plan.actions.some((action) => action.do === what)
  const refuse = (empty: string, other: string) => {
    throw new RclaudeError(
      'conflict',
      `${empty} holds no files: --delete would empty ${other}. Say --force if that is meant`,
    )
  }
  if (near.entries.size === 0 && wants('delete-far')) refuse(directory, 'the folder of the task')
  if (memory.far.size === 0 && wants('delete-near')) refuse(`"${toText(far.folder)}" of the task`, directory)
}

function startRun(options: SyncOptions, tree: Tree | undefined, plan: Plan, near: NearScan, manifest: Manifest): Run {
  const { memory, far, umask, now, onDone } = options
  const tally = emptyTally()
  tally.skipped = [...near.skipped, ...manifest.skipped]
  if (!options.dryRun) {
    for (const [path, agreed] of plan.learned) memory.agree(path, agreed)
    if (memory.near.size > near.entries.size)
      for (const path of memory.near.paths()) if (!near.entries.has(path)) memory.near.delete(path)
  }
  return { tree: tree as Tree, far, memory, tally, reasons: new Map(), umask, now, onDone }
}

/** A file that is there but takes no part (git ignores it by now) was not deleted: it stays on the other side too. */
async function dropHidden(run: Run, plan: Plan, { far, selection }: SyncOptions): Promise<void> {
  const asked = plan.actions.filter(({ do: what }) => what === 'delete-near').map(({ path }) => path)
  const hidden = new Set<BytePath>()
  if (asked.length > 0) {
    const { entries, skipped } = await readManifest(far, selection, { paths: asked.map(toWire) })
    for (const path of [...(entries?.keys() ?? []), ...skipped.map((one) => one.path)]) hidden.add(path)
  }
  for (const { do: what, path } of plan.actions) if (what === 'delete-far' && isThere(run.tree, path)) hidden.add(path)
  plan.actions = plan.actions.filter(({ do: what, path }) => !hidden.has(path) || !what.startsWith('delete'))
}

/** What may not be looked at may well be there. */
function isThere(tree: Tree | undefined, path: BytePath): boolean {
  try {
    return tree?.look(path)?.isDirectory() === false
  } catch {
    return true
  }
}

function noteLeft({ tally }: Run, plan: Plan): void {
  for (const left of plan.left) {
    if (left.why === 'conflict') tally.conflicts.push({ path: left.path, message: 'it changed on both sides' })
    else tally.left.push({ path: left.path, why: left.why })
  }
}

const WOULD: Record<Action['do'], string> = {
  send: 'send',
  receive: 'receive',
  override: 'keep theirs beside and send',
  'delete-far': 'delete there',
  'delete-near': 'delete here',
  'mode-far': 'set mode there',
  'mode-near': 'set mode here',
}

function tell({ tally, onDone }: Run, action: Action): void {
  onDone(`would ${WOULD[action.do]}`, action.path)
  if (action.do === 'send' || action.do === 'override') {
    tally.sent.files++
    tally.sent.bytes += action.near.size
  } else if (action.do === 'receive') {
    tally.received.files++
    tally.received.bytes += action.far.size
  } else if (action.do === 'delete-far') tally.deleted.there++
  else if (action.do === 'delete-near') tally.deleted.here++
  else tally.modes++
}

/** What comes is placed before anything is sent: a version that loses must be safe first. */
async function execute(
  run: Run,
  actions: readonly Action[],
  near: NearScan,
  { directory, caseBlind }: SyncOptions,
): Promise<void> {
  const of = <What extends Action['do']>(...what: What[]) =>
    actions.filter((action): action is Extract<Action, { do: What }> => (what as string[]).includes(action.do))
  await changeNear(run, of('delete-near', 'mode-near'))
  const coming = withoutTwins(run, of('receive', 'override'), near, caseBlind ?? isCaseBlind(directory))
  const saved = await receiveFiles(run, coming)
  await sendChanges(run, [...of('delete-far', 'mode-far', 'send'), ...saved])
}

/** Where `A` and `a` are one file, only the first of them can be here. */
function withoutTwins<T extends Action>(run: Run, coming: readonly T[], near: NearScan, isBlind: boolean): T[] {
  if (!isBlind) return [...coming]
  const fold = (path: BytePath) => toText(path).normalize('NFC').toLowerCase()
  const taken = new Map([...near.entries.keys()].map((path) => [fold(path), path]))
  return coming.filter(({ path }) => {
    const other = taken.get(fold(path))
    taken.set(fold(path), other ?? path)
    if (other === undefined || other === path) return true
    run.tally.skipped.push({ path, why: `this disk takes it for ${toText(other)}` })
    return false
  })
}
