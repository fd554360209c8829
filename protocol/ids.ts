/** Ids are branded strings with a prefix, so that one kind can never be passed for another. */
import { z } from 'zod'

const ALPHABET = 'abcdefghijkmnpqrstuvwxyz23456789' // 32 letters without l, o, 0 and 1, which people confuse
const LENGTH = 12 // 60 bits

const id = <Brand extends string>(prefix: string) =>
  z
    .string()
    .regex(new RegExp(`^${prefix}_[a-z0-9]{${LENGTH}}$`), `expected an id like ${prefix}_k3m9x2p7q4rt`)
    .brand<Brand>()

export const TaskId = id<'TaskId'>('task')
export type TaskId = z.infer<typeof TaskId>
export const ProcessId = id<'ProcessId'>('proc')
export type ProcessId = z.infer<typeof ProcessId>
export const ConnectionId = id<'ConnectionId'>('conn')
export type ConnectionId = z.infer<typeof ConnectionId>
export const PreviewId = id<'PreviewId'>('view')
export type PreviewId = z.infer<typeof PreviewId>
export const LaunchId = id<'LaunchId'>('launch')
export type LaunchId = z.infer<typeof LaunchId>
export const TokenId = id<'TokenId'>('token')
export type TokenId = z.infer<typeof TokenId>
export const GatewayId = id<'GatewayId'>('gw')
export type GatewayId = z.infer<typeof GatewayId>

/** Taken from the system for many ids at once: every request has one. */
let random = new Uint8Array(0)
let used = 0

function randomPart(): string {
  if (used === random.length) {
    random = crypto.getRandomValues(new Uint8Array(100 * LENGTH))
    used = 0
  }
  let part = ''
  for (const end = used + LENGTH; used < end; used += 1) part += ALPHABET[(random[used] ?? 0) % 32]
  return part
}

export const newTaskId = (): TaskId => TaskId.parse(`task_${randomPart()}`)
export const newProcessId = (): ProcessId => ProcessId.parse(`proc_${randomPart()}`)
export const newConnectionId = (): ConnectionId => ConnectionId.parse(`conn_${randomPart()}`)
export const newPreviewId = (): PreviewId => PreviewId.parse(`view_${randomPart()}`)
export const newLaunchId = (): LaunchId => LaunchId.parse(`launch_${randomPart()}`)
export const newTokenId = (): TokenId => TokenId.parse(`token_${randomPart()}`)
export const newGatewayId = (): GatewayId => GatewayId.parse(`gw_${randomPart()}`)
export const newRequestId = (): string => `req_${randomPart()}`
