// All targets, and how many executions of each make one turn: half of the time for the decoder, which is the first to see
// what a peer sends, and the other half for those that are much slower.

import { decoderTarget } from './decoder-target.ts'
import { pairTarget } from './pair-target.ts'
import { resumeTarget } from './resume-target.ts'
import { sessionTarget } from './session-target.ts'
import type { Target } from './target.ts'

export const TARGETS: readonly Target[] = [decoderTarget, sessionTarget, pairTarget, resumeTarget]

const TURN: Record<string, number> = { decoder: 150_000, session: 2_000, pair: 1_500, resume: 3_000 }

export const turnOf = (target: Target): number => TURN[target.name] ?? 1_000
