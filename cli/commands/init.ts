/** `rclaude init`: everything a first run needs, in order; and what comes next. */
import type { Command } from 'commander'
import { EXIT_CODES } from '../../protocol/errors.ts'
import { checkClaude, checkCredentials, checkGateway, checkGit, checkNode, type Finding } from '../checks.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import { isUnsandboxed, requireConsent } from '../consent.ts'
import { hasConsented, recordConsent } from '../settings.ts'
import { canAsk, type World } from '../world.ts'
import { printFindings } from './doctor.ts'

interface InitOptions {
  unsandboxed?: boolean
}

export function define(world: World): Command {
  return newCommand('init', 'set up: check git and credentials, find or start a gateway', ['rclaude init'])
    .option('--unsandboxed', 'agree, from now on, that tasks run unsandboxed on this machine')
    .action(act(world, init))
}

async function init(invocation: Invocation, options: InitOptions): Promise<number> {
  const { world, out } = invocation
  const [git, claude] = await Promise.all([checkGit(world), checkClaude(world)])
  const { findings: ofGateway, info } = await checkGateway(world, () => invocation.connect({ start: 'always' }))
  const findings = [checkNode(), git, ...ofGateway, checkCredentials(world, info)]
  const unsandboxed = info !== undefined && isUnsandboxed(info)
  if (unsandboxed) findings.push(claude, await consentFinding(world, options))

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
