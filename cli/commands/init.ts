/** `rclaude init`: everything a first run needs, in order; a first `.rclaude.yaml` in a repository; and what comes next. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Command } from 'commander'
import { EXIT_CODES } from '../../protocol/errors.ts'
import type { Finding } from '../../protocol/finding.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import { isUnsandboxed, requireConsent } from '../consent.ts'
import { checkClaude, checkCredentials, checkGateway, checkGit, checkNode } from '../doctor/setup.ts'
import { PROJECT_FILE, readProject, topOfRepository } from '../project-file.ts'
import { projectTemplate, suggest } from '../project-template.ts'
import { hasConsented, recordConsent } from '../settings.ts'
import { canAsk, type World } from '../world.ts'
import { printFindings } from './doctor.ts'

interface InitOptions {
  unsandboxed?: boolean
  /** False with --no-project-file. */
  projectFile?: boolean
}

export function define(world: World): Command {
  return newCommand('init', 'set up: check git and credentials, find or start a gateway, write .rclaude.yaml', [
    'rclaude init',
    'rclaude init --no-project-file   only this machine',
  ])
    .option('--no-project-file', `write no ${PROJECT_FILE}`)
    .option('--unsandboxed', 'agree, from now on, that tasks run unsandboxed on this machine')
    .action(act(world, init))
}

async function init(invocation: Invocation, options: InitOptions): Promise<number> {
  const { world, out } = invocation
  const [git, claude] = await Promise.all([checkGit(world), checkClaude(world)])
  const { findings: ofGateway, info } = await checkGateway(world, () => invocation.connect({ start: 'always' }))
  const findings = [checkNode(), git, ...ofGateway, await checkCredentials(world, info)]
  const unsandboxed = info !== undefined && isUnsandboxed(info)
  if (unsandboxed) findings.push(claude, await consentFinding(world, options))
  if (options.projectFile !== false) findings.push(...(await projectFinding(world)))

  const ok = findings.every((finding) => finding.ok)
  if (out.json) {
    await out.data({ ok, findings })
    return ok ? EXIT_CODES.succeeded : EXIT_CODES.failed
  }
  await printFindings(out, findings)
  await out.line()
  await out.line(
    ok
      ? 'Ready. In a project: rclaude run "fix the failing test" --check "npm test"'
      : 'Not ready yet: see the arrows above, then run rclaude init again.',
  )
  return ok ? EXIT_CODES.succeeded : EXIT_CODES.failed
}

/** Nothing outside a repository; a file that is there stays as it is. */
async function projectFinding(world: World): Promise<Finding[]> {
  const root = topOfRepository(world.cwd)
  if (root === undefined) return []
  const name = 'project'
  const file = join(root, PROJECT_FILE)
  try {
    const suggestion = suggest(root)
    await writeFile(file, projectTemplate(suggestion), { flag: 'wx' })
    const found = Object.entries(suggestion).map(([key, command]) => `${key}: ${command}`)
    return [{ name, ok: true, detail: `wrote ${file}${found.length > 0 ? ` (${found.join(', ')})` : ''}` }]
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST')
      return [{ name, ok: false, detail: (error as Error).message, fix: 'or say --no-project-file' }]
  }
  return readProject(root).then(
    () => [{ name, ok: true, detail: file }],
    (error: Error) => [{ name, ok: false, detail: error.message, fix: `mend ${file}` }],
  )
}

async function consentFinding(world: World, options: InitOptions): Promise<Finding> {
  if (options.unsandboxed === true) await recordConsent(world)
  else if (canAsk(world)) await requireConsent(world, {}).catch(() => {}) // a "no" is told below
  const ok = await hasConsented(world)
  return {
    name: 'consent',
    ok,
    detail: ok ? 'tasks may run unsandboxed on this machine' : 'tasks would run unsandboxed on this machine',
    fix: 'agree with rclaude init --unsandboxed, or use a gateway with containers (rclaude login URL)',
  }
}
