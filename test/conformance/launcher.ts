/**
 * What `gateway/launchers/launcher.ts` promises, tried on any launcher with the real agent (`node scripts/build.mjs` makes
 * it). One call in a test file is the whole of it; test/conformance/process.test.ts is the example.
 */
import { afterAll, beforeAll, describe, expect, type TestContext, test } from 'vitest'
import type { Launcher, LaunchSpec, PlacementStatus } from '../../gateway/launchers/launcher.ts'
import { machineFor } from '../../gateway/tasks/machine.ts'
import { newGatewayId, newLaunchId } from '../../protocol/ids.ts'
import type { Machine } from '../../protocol/machine.ts'
import type { Placement } from '../../protocol/task.ts'
import { eventually } from '../helpers/eventually.ts'
import { launchOptions, launchSpec } from '../helpers/launching.ts'
import { type Dials, openDials } from './dials.ts'
import { journeys } from './journeys.ts'
import type { MakeSite, Site } from './site.ts'

export interface ConformanceOptions {
  /** For one thing to happen: a machine to run, an agent to dial, a machine to be gone. */
  patienceMs?: number
  /** What every task asks for. */
  machine?: Machine
  /** Where a launcher is tried in several ways: this one, for the tests' names. */
  how?: string
}

/** @param name as the launcher calls itself */
export function launcherConformance(name: string, makeSite: MakeSite, options: ConformanceOptions = {}): void {
  const patienceMs = options.patienceMs ?? 20_000
  const timeout = 6 * patienceMs
  const asking = options.machine === undefined ? {} : { machine: options.machine }
  let site: Site
  let whyNot: string | undefined
  let dials: Dials
  /** Everything that was asked for, and by whom: at the end nothing of it may be left. */
  const asked: Array<{ gatewayId: string; spec: LaunchSpec }> = []

  beforeAll(async () => {
    const made = await makeSite()
    if (typeof made === 'string') {
      whyNot = `launcher ${name} is not tried: ${made}`
      console.log(whyNot)
      return
    }
    site = made
    dials = await openDials(site)
  }, timeout)

  afterAll(async () => {
    if (whyNot !== undefined) return
    for (const gatewayId of new Set(asked.map((one) => one.gatewayId))) {
      const launcher = await site.launcher(gatewayId)
      for (const placement of await launcher.list()) await launcher.stop(placement, 'the tests have ended')
    }
    const left = await Promise.all(asked.map(({ spec }) => site.remains(spec)))
    await dials.close()
    await site.close?.()
    expect(left.flat()).toEqual([])
  }, timeout)

  const promise = (what: string, work: () => Promise<void>) =>
    test(
      what,
      async (context: TestContext) => {
        if (whyNot !== undefined) context.skip(whyNot)
        await work()
      },
      timeout,
    )

  /** A gateway with a launch of its own, not asked for yet. */
  async function scene(over: Partial<LaunchSpec> = {}, gatewayId: string = newGatewayId()) {
    const launcher = await site.launcher(gatewayId)
    const machine = machineFor(launcher, { agent: 'command', ...asking })
    const spec = launchSpec({ gatewayUrl: dials.url, machine, ...over })
    asked.push({ gatewayId, spec })
    return { gatewayId, launcher, spec }
  }

  /** The same, launched, and its agent there. */
  async function launched(over: Partial<LaunchSpec> = {}, gatewayId?: string) {
    const made = await scene(over, gatewayId)
    const placement = await made.launcher.launch(made.spec, launchOptions())
    const dial = await dials.first(made.spec.launchId, patienceMs)
    return { ...made, placement, dial }
  }

  const until = (launcher: Launcher, placement: Placement, ...wanted: Array<PlacementStatus['status']>) =>
    eventually(
      `${placement.handle} is ${wanted.join(' or ')}`,
      async () => {
        const seen = (await launcher.inspect([placement])).get(placement.launchId)
        return seen !== undefined && wanted.includes(seen.status) ? seen : undefined
      },
      patienceMs,
    )

  describe(['launcher', name, options.how].filter(Boolean).join(' '), () => {
    promise('starts a real agent, which dials with what its launch says', async () => {
      const { launcher, spec, placement, dial } = await launched()
      expect(launcher.name).toBe(name)
      expect(placement).toMatchObject({ launchId: spec.launchId, launcher: name })
      expect(Number.isNaN(Date.parse(placement.startedAt))).toBe(false)
      expect(JSON.parse(JSON.stringify(placement))).toEqual(placement)
      expect(dial).toMatchObject({ taskId: spec.taskId, launchId: spec.launchId, joinCode: spec.joinCode })
      expect((await until(launcher, placement, 'running')).status).toBe('running')
      expect(await launcher.list()).toEqual([{ ...placement, taskId: spec.taskId }])
      expect(await site.remains(spec)).not.toEqual([]) // or nothing could be proved below
      await launcher.stop(placement, 'enough')
    })

    promise('starts nothing twice: neither for a second call nor for one after a restart with its note', async () => {
      const { gatewayId, launcher, spec } = await scene()
      const options = launchOptions()
      const placement = await launcher.launch(spec, options)
      const dial = await dials.first(spec.launchId, patienceMs)
      expect((await launcher.launch(spec, launchOptions())).handle).toBe(placement.handle)
      const note = options.notes.at(-1)
      const kept = note === undefined ? undefined : JSON.parse(JSON.stringify(note)) // as a gateway reads it back
      const later = await site.launcher(gatewayId)
      expect((await later.launch(spec, launchOptions({ kept }))).handle).toBe(placement.handle)
      await dials.again(dial, patienceMs)
      expect(dials.agents(spec.launchId)).toHaveLength(1)
      expect(await later.list()).toHaveLength(1)
      await later.stop(placement, 'enough')
    })

    promise('built anew, it finds, inspects and stops what was launched before', async () => {
      const { gatewayId, spec, placement } = await launched()
      const later = await site.launcher(gatewayId)
      const asStored = JSON.parse(JSON.stringify(placement)) as Placement
      expect(await later.list()).toEqual([{ ...asStored, taskId: spec.taskId }])
      await until(later, asStored, 'running')
      await later.stop(asStored, 'enough')
      expect(await site.remains(spec)).toEqual([])
      expect(await later.list()).toEqual([])
    })

    promise(
      'answers for every placement in one call: those that run, those that ended, those that nobody knows',
      async () => {
        const first = await launched()
        const second = await launched({}, first.gatewayId)
        const third = await launched({}, first.gatewayId)
        const { launcher } = first
        await until(launcher, first.placement, 'running')
        await until(launcher, third.placement, 'running')
        await launcher.stop(second.placement, 'enough')
        const unknown = { ...first.placement, launchId: newLaunchId(), handle: 'nobody' }
        const statuses = await launcher.inspect([first.placement, second.placement, third.placement, unknown])
        expect(statuses.get(first.spec.launchId)?.status).toBe('running')
        expect(statuses.get(second.spec.launchId)?.status).toMatch(/^(stopped|gone)$/)
        expect(statuses.get(third.spec.launchId)?.status).toBe('running')
        expect(statuses.get(unknown.launchId)?.status).toBe('gone')
        expect(statuses.size).toBe(4)
        expect((await launcher.inspect([])).size).toBe(0)
        for (const { placement } of [first, third]) await launcher.stop(placement, 'enough')
      },
    )

    promise('vouches, if it can, for an agent on the machine that it launched, and for nobody else', async () => {
      const { launcher, placement, dial } = await launched()
      const other = await launched()
      const word = (claim: string | undefined) => launcher.vouch?.(placement, claim)
      if (launcher.vouch !== undefined) {
        await eventually('it vouches', async () => (await word(dial.machine)) === 'yes', patienceMs)
        expect([await word(other.dial.machine), await word(undefined)]).toEqual(['no', 'no'])
      }
      await launcher.stop(placement, 'enough')
      if (launcher.vouch !== undefined) expect(await word(dial.machine)).toBe('no')
      await other.launcher.stop(other.placement, 'enough')
    })

    promise('stop leaves nothing, however often and from wherever it is called', async () => {
      const { gatewayId, launcher, spec, placement } = await launched()
      const other = await site.launcher(gatewayId)
      await Promise.all([launcher.stop(placement, 'enough'), other.stop(placement, 'enough')])
      expect(await site.remains(spec)).toEqual([])
      expect(await launcher.list()).toEqual([])
      await launcher.stop(placement, 'again')
      await launcher.stop({ ...placement, launchId: newLaunchId(), handle: 'nobody' }, 'it never was')
    })

    promise('a task may be launched anew once its placement is gone: that is another placement', async () => {
      const first = await launched()
      await first.launcher.stop(first.placement, 'enough')
      const second = await launched({ taskId: first.spec.taskId }, first.gatewayId)
      const status = await second.launcher.inspect([first.placement, second.placement])
      expect(status.get(first.spec.launchId)?.status).toMatch(/^(stopped|gone)$/)
      expect(status.get(second.spec.launchId)?.status).toMatch(/^(pending|running)$/)
      expect((await second.launcher.list()).map(({ launchId }) => launchId)).toEqual([second.spec.launchId])
      await second.launcher.stop(second.placement, 'enough')
    })

    promise("leaves another gateway's placements alone, even one that it is told to stop", async () => {
      const { launcher, placement, dial } = await launched()
      const stranger = await site.launcher(newGatewayId())
      expect(await stranger.list()).toEqual([])
      await stranger.stop(placement, 'not its own').catch(() => {}) // it may say so, or do nothing
      await dials.again(dial, patienceMs)
      await until(launcher, placement, 'running')
      await launcher.stop(placement, 'enough')
    })

    promise('a launch that was given up before it began starts nothing', async () => {
      const { launcher, spec } = await scene()
      await expect(launcher.launch(spec, launchOptions({ signal: AbortSignal.abort() }))).rejects.toThrow()
      expect(await launcher.list()).toEqual([])
      expect(await site.remains(spec)).toEqual([])
    })

    promise('a launch that is given up on its way leaves nothing that list does not show', async () => {
      const { gatewayId, launcher, spec } = await scene()
      const giveUp = new AbortController()
      const launching = launcher.launch(spec, launchOptions({ signal: giveUp.signal })).catch(() => undefined)
      giveUp.abort()
      await launching
      const later = await site.launcher(gatewayId)
      for (const placement of await later.list()) await later.stop(placement, 'no task owns it')
      expect(await site.remains(spec)).toEqual([])
    })

    promise('an agent that ends before it dials is told with what is known of why', async () => {
      const { launcher, spec } = await scene({ gatewayUrl: 'no-address' })
      const placement = await launcher.launch(spec, launchOptions())
      const status = await until(launcher, placement, 'stopped', 'gone')
      expect('detail' in status || 'exitCode' in status, JSON.stringify(status)).toBe(true)
      await launcher.stop(placement, 'the task has ended')
      expect(await site.remains(spec)).toEqual([])
    })

    promise('a placement that is killed from outside is seen to be gone, and stop clears up after it', async () => {
      const { launcher, spec, placement } = await launched()
      await site.kill({ ...placement, taskId: spec.taskId })
      await until(launcher, placement, 'stopped', 'gone')
      await launcher.stop(placement, 'the task has ended')
      expect(await site.remains(spec)).toEqual([])
      expect(await launcher.list()).toEqual([])
    })

    journeys({ name, promise, site: () => site, patienceMs, ...asking })
  })
}
