/** What users and tokens have of their limits. */
import { RclaudeError } from '../../protocol/errors.ts'
import { allowances } from '../tasks/allowance.ts'
import { type Handlers, principalOf } from './context.ts'

export const limitsHandlers: Pick<Handlers, 'limits'> = {
  limits(call) {
    const { c, deps, query } = call
    const { user, role, tokenId } = principalOf(call)
    if (query.allUsers === undefined) return c.json(allowances(deps, { user, tokenId }))
    if (role !== 'admin')
      throw new RclaudeError(
        'forbidden',
        `all users' limits are an administrator's to see; leave out --all-users for yours`,
      )
    return c.json(allowances(deps, { user: undefined, tokenId: undefined }))
  },
}
