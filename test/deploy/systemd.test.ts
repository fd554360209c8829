/** The unit of deploy/systemd and its drop-ins, by systemd's own tools. No systemd runs them here. */
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { temporaryDirectory } from '../helpers/temporary.ts'

const FOLDER = 'deploy/systemd'
const UNIT = 'rclaude-gateway.service'
/** Of Debian 12: others weigh settings differently. */
const VERSION_OF_FIGURES = 252

const [, version] =
  /^systemd (\d+)/.exec(spawnSync('systemd-analyze', ['--version'], { encoding: 'utf8' }).stdout ?? '') ?? []
if (version === undefined) console.log('the systemd unit is not verified here: systemd-analyze is not installed')
const figuresHold = Number(version) === VERSION_OF_FIGURES
if (!figuresHold) console.log(`exposure levels are not compared here: they are of systemd ${VERSION_OF_FIGURES}`)

/** @returns the unit with a drop-in, and with programs that are on this machine */
function installed(dropIn: string | undefined): string {
  const folder = temporaryDirectory()
  const unit = join(folder, UNIT)
  writeFileSync(unit, readFileSync(`${FOLDER}/${UNIT}`, 'utf8').replace('/usr/bin/node', process.execPath))
  mkdirSync(`${unit}.d`)
  if (dropIn !== undefined) copyFileSync(`${FOLDER}/${dropIn}`, join(`${unit}.d`, dropIn))
  return unit
}

const analyze = (...args: string[]) =>
  spawnSync('systemd-analyze', args, { encoding: 'utf8', env: { PATH: process.env.PATH, SYSTEMD_COLORS: '0' } })

describe.skipIf(version === undefined)('the unit', () => {
  test.each([undefined, 'low-port.conf', 'process-launcher.conf'])(
    'is understood by systemd, drop-in: %s',
    (dropIn) => {
      const verified = analyze('verify', '--man=no', installed(dropIn))
      expect([verified.status, verified.stderr]).toEqual([0, ''])
    },
  )

  const docs = readFileSync('docs/deploy.md', 'utf8')
  const FIGURES = [...docs.matchAll(/^\| `(?:([a-z-]+\.conf)|rclaude-gateway\.service)` \| .* \| (\d\.\d) \|$/gm)]

  test('has figures for itself and both drop-ins in docs/deploy.md', () => {
    expect(FIGURES.map(([, dropIn]) => dropIn)).toEqual([undefined, 'low-port.conf', 'process-launcher.conf'])
  })

  test.skipIf(!figuresHold).each(FIGURES.map(([, dropIn, figure]) => [dropIn, figure]))(
    'exposes no more than docs/deploy.md says, drop-in: %s',
    (dropIn, figure) => {
      const { stdout } = analyze('security', '--offline=true', '--no-pager', installed(dropIn))
      expect(/Overall exposure level for \S+: (\S+)/.exec(stdout)?.[1]).toBe(figure)
    },
  )
})
