/**
 * What was sent to which gateway, so that a second `run` of a project neither counts its history again nor asks again about
 * an amount that was agreed to. A memory only: when it is lost or wrong, a question too many is asked.
 */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { z } from 'zod'
import { stateDirectory } from './directories.ts'
import { readJson, writeOwnFile } from './settings.ts'
import type { World } from './world.ts'

const Sent = z.record(z.string(), z.object({ at: z.string(), commits: z.array(z.string()), bytes: z.number() }))
export type SentProject = z.infer<typeof Sent>[string]

/** The oldest are forgotten. */
const MAX_PROJECTS = 500

const sentFile = (world: World): string => join(stateDirectory(world), 'sent.json')

const keyOf = (gateway: string, project: string): string =>
  createHash('sha256').update(`${gateway}\0${project}`).digest('hex').slice(0, 32)

export async function sentBefore(world: World, gateway: string, project: string): Promise<SentProject | undefined> {
  return (await readAll(world))[keyOf(gateway, project)]
}

export async function rememberSent(
  world: World,
  gateway: string,
  project: string,
  sent: Omit<SentProject, 'at'>,
): Promise<void> {
  const others = Object.entries(await readAll(world)).sort(([, a], [, b]) => b.at.localeCompare(a.at))
  const kept = Object.fromEntries(others.slice(0, MAX_PROJECTS - 1))
  const all = { ...kept, [keyOf(gateway, project)]: { ...sent, at: new Date().toISOString() } }
  await writeOwnFile(sentFile(world), JSON.stringify(all)).catch(() => {}) // a full disk or a read-only home is no reason to fail here
}

const readAll = async (world: World) => (await readJson(sentFile(world), Sent).catch(() => undefined)) ?? {}
