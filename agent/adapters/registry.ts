/** Every adapter there is, by the name that a task gives. */
import type { AgentName } from '../../protocol/task.ts'
import type { Adapter } from './adapter.ts'
import { claude } from './claude.ts'
import { command } from './command.ts'

export const adapters: Record<AgentName, Adapter> = { claude, command }
