/** Model profiles. */
import { RclaudeError } from '../../protocol/errors.ts'
import { ModelProfileName, profileFault } from '../../protocol/model.ts'
import type { ModelProfile } from '../../protocol/routes.ts'
import type { StoredModel } from '../store/store.ts'
import { isoNow } from '../tasks/context.ts'
import { checkAccess, modelSeal, ofGateway, ofUser } from '../tasks/model-access.ts'
import { type Deps, type Handlers, principalOf } from './context.ts'

export const modelHandlers: Pick<Handlers, 'listModels' | 'putModel' | 'deleteModel' | 'checkModel'> = {
  listModels(call) {
    const own = call.deps.store.listModels(principalOf(call).user)
    const hasDefault = own.some((model) => model.isDefault)
    return call.c.json({ profiles: [...own.map(toProfile), ...gatewayProfiles(call.deps, !hasDefault)] })
  },
  putModel(call) {
    const { c, deps, body } = call
    const { secrets, makeDefault, ...settings } = body
    const owner = principalOf(call).user
    const name = nameOf(c.req.param('name'))
    const secretNames = Object.keys(secrets)
    const fault = profileFault(settings, secretNames)
    if (fault !== undefined) throw new RclaudeError('invalid', `the model profile "${name}": ${fault}`)
    const own = deps.store.listModels(owner)
    const before = own.find((model) => model.name === name)
    const { maxModelProfiles } = deps.config.limits
    if (before === undefined && own.length >= maxModelProfiles)
      throw new RclaudeError(
        'limit',
        `you have ${own.length} model profiles, as many as one user may keep (limits.maxModelProfiles): delete one first with rclaude model rm`,
      )
    const model: StoredModel = {
      owner,
      name,
      settings,
      secretNames,
      ...(secretNames.length > 0 && { sealed: deps.vault.seal(modelSeal(owner, name), { secrets }) }),
      isDefault: makeDefault || before?.isDefault === true || own.length === 0,
      createdAt: isoNow(),
    }
    deps.store.putModel(model)
    return c.json(toProfile(model))
  },
  deleteModel(call) {
    const name = nameOf(call.c.req.param('name'))
    if (!call.deps.store.deleteModel(principalOf(call).user, name)) throw absent(name)
    return call.c.body(null, 204)
  },
  async checkModel(call) {
    const name = nameOf(call.c.req.param('name'))
    const own = call.deps.store.listModels(principalOf(call).user).find((model) => model.name === name)
    const access = own === undefined ? ofGateway(call.deps, name) : ofUser(call.deps, own)
    if (access === undefined) throw absent(name)
    return call.c.json(await checkAccess(call.deps, access))
  },
}

const toProfile = ({ name, settings, secretNames, isDefault, createdAt }: StoredModel): ModelProfile => ({
  name,
  ...settings,
  of: 'user',
  secrets: secretNames,
  isDefault,
  createdAt,
})

function gatewayProfiles({ config }: Deps, mayBeDefault: boolean): ModelProfile[] {
  const { profiles, default: chosen } = config.models
  return Object.entries(profiles).map(([name, profile]) => ({
    name,
    ...profile,
    of: 'gateway',
    isDefault: mayBeDefault && name === chosen,
  }))
}

function nameOf(text: string | undefined): string {
  const name = ModelProfileName.safeParse(text)
  if (!name.success)
    throw new RclaudeError(
      'invalid',
      `"${String(text).slice(0, 70)}" is no name of a model profile: ${name.error.issues[0]?.message}`,
    )
  return name.data
}

const absent = (name: string) =>
  new RclaudeError('not_found', `you have no model profile "${name}"; see rclaude model ls`)
