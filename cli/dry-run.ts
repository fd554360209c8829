/** `run --dry-run`: what would be sent, and how the task would be set up. Nothing is sent, started or launched. */
import { RclaudeError } from '../protocol/errors.ts'
import { formatBytes, formatSeconds } from '../protocol/units.ts'
import type { Invocation } from './command.ts'
import { count } from './output.ts'
import type { Project } from './project-file.ts'
import { largeLines, secretLines, surveyText } from './sending.ts'
import { sentBefore } from './sent.ts'
import { projectFolder, snapshotOptions } from './sources.ts'
import type { RunOptions } from './task-request.ts'
import { takeSnapshot } from './workspace/snapshot.ts'
import { type Survey, type SurveyedFile, surveyedBytes } from './workspace/survey.ts'

const SHOWN_UNTRACKED = 20

export async function dryRun(
  invocation: Invocation,
  options: RunOptions,
  project: Project | undefined,
): Promise<number> {
  const { world, out } = invocation
  const gateway = await invocation.connect({ start: 'never' }).catch(() => undefined) // then all of it counts as new
  let survey: Survey | undefined
  await using snapshot = await takeSnapshot(projectFolder(world, options), {
    ...snapshotOptions(options),
    sentBefore: async (name) =>
      gateway === undefined ? undefined : (await sentBefore(world, gateway.url, name))?.commits,
    look: async (seen) => {
      survey = seen
    },
  })
  if (survey === undefined) throw new RclaudeError('internal', 'the snapshot was not looked at')
  const { commit, base, warnings } = snapshot
  if (out.json) {
    const { project: _, ...seen } = survey
    const file = project === undefined ? {} : { projectFile: project.file, settings: project.settings }
    await out.data({ type: 'dry_run', ...seen, bytes: surveyedBytes(survey), commit, base, warnings, ...file })
    return 0
  }
  await print(invocation, survey, options, project)
  for (const warning of warnings) await out.line(out.style.yellow(`! ${warning}`))
  return 0
}

async function print({ out }: Invocation, survey: Survey, options: RunOptions, project?: Project): Promise<void> {
  const part = (files: readonly SurveyedFile[]) =>
    files.length === 0
      ? undefined
      : `${count(files.length, 'file')}, ${formatBytes(files.reduce((sum, { bytes }) => sum + bytes, 0))}`
  const { timeout, idle, budget, maxTurns } = options
  const limits = [
    timeout === undefined ? undefined : formatSeconds(timeout),
    idle === undefined ? undefined : `${formatSeconds(idle)} idle`,
    budget === undefined ? undefined : `$${budget}`,
    maxTurns === undefined ? undefined : count(maxTurns, 'turn'),
  ].filter((limit) => limit !== undefined)
  await out.facts([
    ['folder', survey.root],
    ['project file', project?.file],
    ['setup', options.setup],
    ['check', options.check],
    ['limits', limits.length === 0 ? undefined : limits.join(', ')],
    ['to send', surveyText(survey)],
    ['history', survey.historyBytes === 0 ? undefined : formatBytes(survey.historyBytes)],
    ['changed', part(survey.changed)],
    ['untracked', part(survey.untracked)],
  ])
  for (const line of largeLines(survey)) await out.line(line)
  for (const { path } of survey.untracked.slice(0, SHOWN_UNTRACKED))
    await out.line(`  ? ${JSON.stringify(path).slice(1, -1)}`)
  const hidden = survey.untracked.length - SHOWN_UNTRACKED
  if (hidden > 0) await out.line(`  and ${hidden} more that git does not track (--json lists all)`)
  for (const line of secretLines(survey)) await out.line(out.style.yellow(line))
}
