/** Task definitions: one for each kind of container, registered once, however many launches want it at the same time. */
import type { EcsSection } from '../../../protocol/launcher-config.ts'
import type { EcsApi } from './api.ts'
import { definitionOf } from './request.ts'

export class Definitions {
  readonly #api: EcsApi
  readonly #section: EcsSection
  readonly #known = new Map<string, Promise<string>>()

  constructor(api: EcsApi, section: EcsSection) {
    this.#api = api
    this.#section = section
  }

  /** @returns `family:revision`: what a launch is given does not change under it */
  ensure(image: string, docker = false): Promise<string> {
    const wanted = definitionOf(this.#section, image, docker)
    const known = this.#known.get(wanted.family)
    if (known !== undefined) return known
    const made = this.#find(wanted.family).then((found) => found ?? this.#register(wanted))
    this.#known.set(wanted.family, made)
    made.catch(() => this.#known.delete(wanted.family))
    return made
  }

  /** Also when there is one: to see whether it may be done. The second is taken away again. @returns the one that launches take */
  async tryOut(image: string): Promise<string> {
    // Whoever may do this may do it without an engine.
    const wanted = definitionOf(this.#section, image, this.#section.taskEngine !== undefined)
    const found = await this.#find(wanted.family)
    const made = await this.#register(wanted)
    if (found === undefined) return made
    await this.#api.call('register', 'DeregisterTaskDefinition', (ecs, options) =>
      ecs.deregisterTaskDefinition({ taskDefinition: made }, options),
    )
    return found
  }

  async #find(family: string): Promise<string | undefined> {
    try {
      const { taskDefinition } = await this.#api.call('read', 'DescribeTaskDefinition', (ecs, options) =>
        ecs.describeTaskDefinition({ taskDefinition: family }, options),
      )
      return taskDefinition?.status === 'ACTIVE' ? `${family}:${taskDefinition.revision}` : undefined
    } catch (error) {
      if ((error as Error).name === 'ClientException') return undefined // there is none
      throw error
    }
  }

  async #register(wanted: ReturnType<typeof definitionOf>): Promise<string> {
    const { taskDefinition } = await this.#api.call('register', 'RegisterTaskDefinition', (ecs, options) =>
      ecs.registerTaskDefinition(wanted, options),
    )
    return `${wanted.family}:${taskDefinition?.revision}`
  }
}
