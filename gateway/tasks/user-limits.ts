/** Limits of one user: what `limits.users` says of that name, and otherwise what counts for every user. */
import type { GatewayConfig } from '../../protocol/config.ts'

export interface UserLimits {
  maxTasks: { limit: 'limits.maxTasksPerUser' | 'limits.users.maxTasks'; value: number | undefined }
  maxQueued: { limit: 'limits.maxQueued' | 'limits.users.maxQueued'; value: number }
  dailyBudget: { limit: 'limits.dailyBudgetPerUser' | 'limits.users.dailyBudget'; value: number | undefined }
}

export function limitsOfUser(limits: GatewayConfig['limits'], user: string): UserLimits {
  const own = Object.hasOwn(limits.users, user) ? limits.users[user] : undefined
  return {
    maxTasks:
      own?.maxTasks === undefined
        ? { limit: 'limits.maxTasksPerUser', value: limits.maxTasksPerUser }
        : { limit: 'limits.users.maxTasks', value: own.maxTasks },
    maxQueued:
      own?.maxQueued === undefined
        ? { limit: 'limits.maxQueued', value: limits.maxQueued }
        : { limit: 'limits.users.maxQueued', value: own.maxQueued },
    dailyBudget:
      own?.dailyBudget === undefined
        ? { limit: 'limits.dailyBudgetPerUser', value: limits.dailyBudgetPerUser }
        : { limit: 'limits.users.dailyBudget', value: own.dailyBudget },
  }
}
