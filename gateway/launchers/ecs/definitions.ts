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

  /**
   * Whether it may be registered: under a name that no launch takes, and taken away again.
   * @returns the one that launches take, if there is one
   */
  async tryOut(image: string): Promise<string | undefined> {
    // Whoever may do this may do it without an engine.
    const wanted = definitionOf(this.#section, image, this.#section.taskEngine !== undefined)
    const made = await this.#register({ ...wanted, family: wanted.family.replace(/^rclaude-/, 'rclaude-doctor-') })
    await this.#api.call('register', 'DeregisterTaskDefinition', (ecs, options) =>
      ecs.deregisterTaskDefinition({ taskDefinition: made }, options),
    )
    return this.#find(wanted.family)
  }

  /** One that was taken away by somebody is looked for anew by the next launch. */
  forget(definition: string): void {
    this.#known.delete(definition.replace(/:\d+$/, ''))
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
