/**
 * The route table: every way into the gateway but the agents' own dial. A file of `routes/` declares what belongs to one
 * resource; what is not in this table does not exist. The order is that in which the gateway looks, and in which
 * `/openapi.json` lists them.
 */
import { accessRoutes } from './routes/access.ts'
import { fileRoutes } from './routes/files.ts'
import { gatewayRoutes } from './routes/gateway.ts'
import { limitsRoutes } from './routes/limits.ts'
import { modelRoutes } from './routes/models.ts'
import { placementRoutes } from './routes/placements.ts'
import { portRoutes } from './routes/ports.ts'
import { processRoutes } from './routes/processes.ts'
import { resultRoutes } from './routes/results.ts'
import { shareRoutes } from './routes/shares.ts'
import { sshRoutes } from './routes/ssh.ts'
import { syncRoutes } from './routes/sync.ts'
import { taskRoutes } from './routes/tasks.ts'
import { workspaceRoutes } from './routes/workspace.ts'

export { AuditRow, Role, Token, UserName } from './routes/access.ts'
export { type GatewayInfo, Me } from './routes/gateway.ts'
export { Allowance, Allowances } from './routes/limits.ts'
export { ModelProfile } from './routes/models.ts'
export { MAX_PAGE } from './routes/page.ts'
export { PreviewSession } from './routes/ports.ts'
export { Artifact } from './routes/results.ts'
export { Share, ShareAccess } from './routes/shares.ts'

export const routes = {
  ...gatewayRoutes,
  ...limitsRoutes,
  ...placementRoutes,
  ...taskRoutes,
  ...resultRoutes,
  ...workspaceRoutes,
  ...processRoutes,
  ...portRoutes,
  ...fileRoutes,
  ...sshRoutes,
  ...syncRoutes,
  ...shareRoutes,
  ...accessRoutes,
  ...modelRoutes,
} as const

export type Routes = typeof routes
