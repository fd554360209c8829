import { expect, test } from 'vitest'
import { machineOf, offersOf } from '../../cli/machine.ts'

const project = { file: '/p/.rclaude.yaml', settings: { image: 'example.org/build:7', cpu: 2, memory: 4 * 1024 ** 3 } }
const size = { cpu: 1, maxCpu: 4, memoryBytes: 1, maxMemoryBytes: 2 }

test('what the project file says goes below the options', () => {
  expect(machineOf({ cpu: 0.5, spot: false }, project, { images: {}, size, spot: true })).toEqual({
    machine: { image: 'example.org/build:7', cpu: 0.5, memoryBytes: 4 * 1024 ** 3, spot: false },
    leftAside: [],
  })
})

test('what the launcher does not offer is left aside when a file says it, and sent when an option does', () => {
  expect(machineOf({}, project, {})).toEqual({ machine: undefined, leftAside: ['image', 'cpu', 'memory'] })
  expect(machineOf({}, project, { size }).leftAside).toEqual(['image'])
  expect(machineOf({ image: 'mine', spot: true }, project, {}).machine).toEqual({ image: 'mine', spot: true })
})

test('Docker is asked for by the option or the file, and the option can take it back', () => {
  const asking = { file: '/p/.rclaude.yaml', settings: { docker: true } }
  const machine = (options: { docker?: boolean }, offers: { docker?: true }) => machineOf(options, asking, offers)
  expect(machine({}, { docker: true })).toEqual({ machine: { docker: true }, leftAside: [] })
  expect(machine({}, {})).toEqual({ machine: undefined, leftAside: ['docker'] })
  expect(machine({ docker: false }, { docker: true })).toEqual({ machine: undefined, leftAside: [] })
  expect(machine({ docker: false }, {}).leftAside).toEqual([])
  expect(machine({ docker: true }, {})).toEqual({ machine: { docker: true }, leftAside: [] })
})

test('a gateway that is older offers nothing', () => {
  const launchers = [
    { name: 'process', isolation: 'none' as const },
    { name: 'ecs', isolation: 'container' as const, offers: { size } },
  ]
  expect(offersOf({ launchers, defaultLauncher: 'process' })).toEqual({})
  expect(offersOf({ launchers, defaultLauncher: 'process' }, 'ecs')).toEqual({ size })
  expect(offersOf({ launchers, defaultLauncher: 'process' }, 'unknown')).toEqual({})
})
