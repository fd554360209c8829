/** A user's own ways to a model. Secrets go in and never come out. */
import { z } from 'zod'
import { ModelCheck, ModelProfileName, modelSettings } from '../model.ts'
import { defineRoute } from '../route.ts'
import { Secrets } from '../task.ts'

export const ModelProfile = z.object({
  name: ModelProfileName,
  ...modelSettings,
  /** `gateway` for those of its configuration, which everybody may use. */
  of: z.enum(['user', 'gateway']),
  /** Names only. */
  secrets: z.array(z.string()),
  /** Taken for tasks that bring nothing themselves: the user's, or else the gateway's. */
  isDefault: z.boolean(),
  createdAt: z.iso.datetime().optional(),
})
export type ModelProfile = z.infer<typeof ModelProfile>

export const modelRoutes = {
  listModels: defineRoute({
    name: 'listModels',
    method: 'GET',
    path: '/v1/models',
    access: 'member',
    summary: 'Model profiles that your tasks can use: your own and those of the gateway.',
    response: z.object({ profiles: z.array(ModelProfile) }),
  }),
  putModel: defineRoute({
    name: 'putModel',
    method: 'PUT',
    path: '/v1/models/:name',
    access: 'member',
    audit: 'model.put',
    summary: 'Make a model profile of your own, or replace it whole. Its secrets are kept sealed.',
    body: z.object({ ...modelSettings, secrets: Secrets.default({}), makeDefault: z.boolean().default(false) }),
    response: ModelProfile,
  }),
  deleteModel: defineRoute({
    name: 'deleteModel',
    method: 'DELETE',
    path: '/v1/models/:name',
    access: 'member',
    audit: 'model.delete',
    summary: 'Delete a model profile of your own, secrets included.',
    status: 204,
  }),
  checkModel: defineRoute({
    name: 'checkModel',
    method: 'POST',
    path: '/v1/models/:name/check',
    access: 'member',
    audit: 'model.check',
    summary: 'Ask the model server whether it takes the credentials of a profile.',
    response: ModelCheck,
  }),
} as const
