/** Changes that a person should look at first: they run by themselves, or steer what runs. */
import { blobText, type Change } from './changes.ts'
import { textOf } from './git.ts'
import type { Scratch } from './scratch.ts'

export interface Caution {
  path: string
  why: string
}

const RULES: readonly (readonly [RegExp, string])[] = [
  [/^\.github\/(workflows|actions)\//, 'runs in CI, with its secrets'],
  [
    /^(\.gitlab-ci\.yml|\.circleci\/|\.travis\.yml|Jenkinsfile|azure-pipelines\.yml|\.drone\.yml|bitbucket-pipelines\.yml|\.buildkite\/|\.ci\/)/,
    'runs in CI, with its secrets',
  ],
  [
    /(^|\/)(\.husky|\.githooks|git-hooks|\.git-hooks)\/|^hooks\/|(^|\/)(\.pre-commit-config\.yaml|lefthook\.ya?ml|\.lintstagedrc[^/]*)$/,
    'may run as a git hook',
  ],
  [
    /(^|\/)\.(claude|codex|gemini|cursor)\/|(^|\/)(\.mcp\.json|CLAUDE\.md|AGENTS\.md|GEMINI\.md|\.cursorrules)$/,
    'steers coding agents on your machine',
  ],
  [/(^|\/)\.(vscode|idea|devcontainer)\//, 'may run tasks in your editor'],
  [
    /(^|\/)(\.envrc|\.npmrc|\.yarnrc(\.yml)?|\.pnpmfile\.cjs|\.gitmodules|\.gitattributes|\.gitconfig)$/,
    'changes how your tools behave',
  ],
]

export async function cautionsFor(changes: readonly Change[], scratch: Scratch): Promise<Caution[]> {
  const cautions: Caution[] = []
  for (const change of changes) {
    const path = textOf(change.path)
    const why = RULES.find(([pattern]) => pattern.test(path))?.[1]
    if (why !== undefined) cautions.push({ path, why })
    else if (/(^|\/)package\.json$/.test(path) && (await scriptsChanged(change, scratch)))
      cautions.push({ path, why: 'changes package scripts' })
    else if (change.newMode === '160000') cautions.push({ path, why: 'changes a submodule' })
  }
  return cautions
}

async function scriptsChanged(change: Change, scratch: Scratch): Promise<boolean> {
  if (change.status === 'D') return false
  const before = change.status === 'A' ? undefined : await scriptsOf(change.oldBlob, scratch)
  return before !== (await scriptsOf(change.newBlob, scratch))
}

async function scriptsOf(blob: string, scratch: Scratch): Promise<string | undefined> {
  try {
    const parsed: unknown = JSON.parse(textOf(await blobText(blob, scratch)))
    if (typeof parsed !== 'object' || parsed === null || !('scripts' in parsed)) return undefined
    return JSON.stringify(parsed.scripts)
  } catch {
    return 'unreadable' // broken, or no file: worth a look when only one side is
  }
}
