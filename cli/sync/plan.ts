/**
 * What is to be done, from what is here (`near`), what is there (`far`) and what both held when they last agreed. Only a side
 * that changed alone is carried to the other. Where both changed differently nothing is touched, unless the user said whom to
 * prefer, and then what loses is kept beside.
 */
import type { ContentId } from '../../host/tree/content.ts'
import { byBytes } from '../../host/tree/list.ts'
import type { BytePath } from '../../host/tree/names.ts'
import type { Agreed, FarEntry } from './memory.ts'

export type Direction = 'to' | 'from' | 'both'
export type Side = 'local' | 'remote'

export interface NearEntry {
  /** Undefined when nobody needs it before it is sent: the path is new. */
  id: ContentId | undefined
  mode: number
  size: number
}

export type Action =
  | { do: 'send'; path: BytePath; expect: ContentId | undefined; near: NearEntry }
  | { do: 'receive'; path: BytePath; far: FarEntry; expect: ContentId | undefined; keep?: 'local' }
  /** The far version is saved beside, then ours is sent. */
  | { do: 'override'; path: BytePath; far: FarEntry; near: NearEntry }
  | { do: 'delete-far'; path: BytePath; expect: ContentId }
  | { do: 'delete-near'; path: BytePath; expect: ContentId }
  | { do: 'mode-far'; path: BytePath; mode: number; expect: ContentId }
  | { do: 'mode-near'; path: BytePath; mode: number; expect: ContentId }

/** Why a path is left as it is. */
export type Left =
  | { path: BytePath; why: 'conflict' }
  /** Deletes are only carried out when that is asked for. */
  | { path: BytePath; why: 'deleted-here' | 'deleted-there' }
  /** It changed on the side from which nothing comes. */
  | { path: BytePath; why: 'changed-here' | 'changed-there' }

export interface Plan {
  actions: Action[]
  left: Left[]
  /** What both sides hold by now, or, undefined, neither: to be remembered. */
  learned: Map<BytePath, Agreed | undefined>
  /** Files that both sides hold alike. */
  same: number
}

export interface Sides {
  near: ReadonlyMap<BytePath, NearEntry>
  far: ReadonlyMap<BytePath, FarEntry>
  agreed: ReadonlyMap<BytePath, Agreed>
}

export interface Rules {
  direction: Direction
  delete: boolean
  prefer: Side | undefined
}

/** @param isOut paths that take no part, whatever is there; what was agreed on them is kept */
export function makePlan({ near, far, agreed }: Sides, rules: Rules, isOut: (path: BytePath) => boolean): Plan {
  const plan: Plan = { actions: [], left: [], learned: new Map(), same: 0 }
  for (const [path, entry] of near)
    if (!isOut(path)) decide({ path, near: entry, far: far.get(path), agreed: agreed.get(path) }, rules, plan)
  for (const [path, entry] of far)
    if (!near.has(path) && !isOut(path))
      decide({ path, near: undefined, far: entry, agreed: agreed.get(path) }, rules, plan)
  for (const path of agreed.keys())
    if (!near.has(path) && !far.has(path) && !isOut(path)) plan.learned.set(path, undefined)
  plan.actions.sort((a, b) => byBytes(a.path, b.path))
  plan.left.sort((a, b) => byBytes(a.path, b.path))
  return plan
}

interface Seen {
  path: BytePath
  near: NearEntry | undefined
  far: FarEntry | undefined
  agreed: Agreed | undefined
}

function decide(seen: Seen, rules: Rules, plan: Plan): void {
  const { near, far, agreed } = seen
  const nearChanged = near?.id !== agreed?.id || (near !== undefined && agreed === undefined)
  const farChanged = far?.id !== agreed?.id
  if (near !== undefined && far !== undefined && near.id === far.id) decideMode(seen, rules, plan)
  else if (nearChanged && farChanged) decideConflict(seen, rules, plan)
  else if (nearChanged) decideOutward(seen, rules, plan)
  else decideInward(seen, rules, plan)
}

/** Changed here alone. */
function decideOutward({ path, near, far }: Seen, rules: Rules, plan: Plan): void {
  if (near !== undefined) {
    if (rules.direction !== 'from') plan.actions.push({ do: 'send', path, expect: far?.id, near })
    else if (rules.delete && far === undefined) deleteNear(path, near, plan)
    else plan.left.push({ path, why: 'changed-here' })
  } else if (far !== undefined) {
    if (rules.direction !== 'from' && rules.delete) plan.actions.push({ do: 'delete-far', path, expect: far.id })
    else plan.left.push({ path, why: 'deleted-here' })
  }
}

/** Changed there alone. */
function decideInward({ path, near, far }: Seen, rules: Rules, plan: Plan): void {
  if (far !== undefined) {
    if (rules.direction !== 'to') plan.actions.push({ do: 'receive', path, far, expect: near?.id })
    else if (rules.delete && near === undefined) plan.actions.push({ do: 'delete-far', path, expect: far.id })
    else plan.left.push({ path, why: 'changed-there' })
  } else if (near !== undefined) {
    if (rules.direction !== 'to' && rules.delete) deleteNear(path, near, plan)
    else plan.left.push({ path, why: 'deleted-there' })
  }
}

function deleteNear(path: BytePath, { id }: NearEntry, plan: Plan): void {
  if (id !== undefined) plan.actions.push({ do: 'delete-near', path, expect: id })
}

/** A change wins over a delete: it can be deleted again, but not be brought back. */
function decideConflict({ path, near, far }: Seen, rules: Rules, plan: Plan): void {
  if (near === undefined && far !== undefined) {
    if (rules.direction === 'to') plan.left.push({ path, why: rules.delete ? 'conflict' : 'changed-there' })
    else plan.actions.push({ do: 'receive', path, far, expect: undefined })
  } else if (far === undefined && near !== undefined) {
    if (rules.direction === 'from') plan.left.push({ path, why: rules.delete ? 'conflict' : 'changed-here' })
    else plan.actions.push({ do: 'send', path, expect: undefined, near })
  } else if (near !== undefined && far !== undefined) {
    if (rules.prefer === 'local' && rules.direction !== 'from') plan.actions.push({ do: 'override', path, far, near })
    else if (rules.prefer === 'remote' && rules.direction !== 'to')
      plan.actions.push({ do: 'receive', path, far, expect: near.id, keep: 'local' })
    else plan.left.push({ path, why: 'conflict' })
  }
}

/** The same content on both sides. */
function decideMode({ path, near, far, agreed }: Seen, { direction }: Rules, plan: Plan): void {
  if (near?.id === undefined || far === undefined) return
  plan.same++
  const isNearNew = near.mode !== agreed?.nearMode
  const isFarNew = far.mode !== agreed?.farMode
  if (agreed?.id === near.id && !isNearNew && !isFarNew) return
  const isDifferent = near.mode !== far.mode
  if (isDifferent && isNearNew && (!isFarNew || direction === 'to') && direction !== 'from')
    plan.actions.push({ do: 'mode-far', path, mode: near.mode, expect: far.id })
  else if (isDifferent && isFarNew && (!isNearNew || direction === 'from') && direction !== 'to')
    plan.actions.push({ do: 'mode-near', path, mode: far.mode, expect: near.id })
  // A mode that waits for its direction is remembered as it was.
  const waits = isDifferent && agreed?.id === near.id && isNearNew !== isFarNew
  if (!waits) plan.learned.set(path, { id: near.id, nearMode: near.mode, farMode: far.mode })
}
