/** The first `.rclaude.yaml` of a project, with the commands that its own files suggest. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

export interface Suggestion {
  setup?: string
  check?: string
}

/** By the files that lie at the top; the first kind that is recognised. */
export function suggest(root: string): Suggestion {
  const has = (name: string) => existsSync(join(root, name))
  if (has('package.json')) return node(root, has)
  if (has('Cargo.toml')) return { check: 'cargo test' }
  if (has('go.mod')) return { setup: 'go mod download', check: 'go test ./...' }
  if (has('uv.lock')) return { setup: 'uv sync', check: 'uv run pytest' }
  if (has('poetry.lock')) return { setup: 'poetry install', check: 'poetry run pytest' }
  if (has('requirements.txt')) return { setup: 'pip install -r requirements.txt', check: 'pytest' }
  if (has('pyproject.toml')) return { setup: 'pip install -e .', check: 'pytest' }
  if (has('Gemfile')) return { setup: 'bundle install', check: 'bundle exec rake test' }
  if (has('pom.xml')) return { check: 'mvn -q test' }
  if (has('gradlew')) return { check: './gradlew test' }
  if (has('Makefile') && /^test:/m.test(readFileSync(join(root, 'Makefile'), 'utf8'))) return { check: 'make test' }
  return {}
}

function node(root: string, has: (name: string) => boolean): Suggestion {
  const [manager, setup] = has('pnpm-lock.yaml')
    ? ['pnpm', 'pnpm install --frozen-lockfile']
    : has('yarn.lock')
      ? ['yarn', 'yarn install --immutable']
      : ['npm', has('package-lock.json') ? 'npm ci' : 'npm install']
  return { setup, ...(hasTestScript(root) && { check: `${manager} test` }) }
}

/** `npm init` writes a test that only fails: it is none. */
function hasTestScript(root: string): boolean {
  try {
    const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      scripts?: Record<string, string>
    }
    return scripts?.test !== undefined && !scripts.test.includes('no test specified')
  } catch {
    return false // not JSON: the project's own matter
  }
}

export function projectTemplate({ setup, check }: Suggestion): string {
  const line = (key: string, value: string | undefined, example: string) =>
    value === undefined ? `# ${key}: ${example}` : `${key}: ${JSON.stringify(value)}`
  return `# How \`rclaude run\` works on this project. Check it in; what is given on the command line goes over it.

# prepares the workspace before the coding agent starts; when it fails, no model money is spent
${line('setup', setup, 'npm ci')}

# says whether the result is good; its verdict stands beside the outcome
${line('check', check, 'npm test')}

# agent: claude
# model: sonnet
# limits: { timeout: 30m, idle: 10m, budget: 5, maxTurns: 100 }  # within those of the gateway
# include: [config/local.json]   # ignored by git, and needed by the task
# exclude: [data/, "*.mp4"]      # not ignored by git, and not needed
# env: { CI: "1" }
# secrets: [NPM_TOKEN]           # names only: run then wants --secret NPM_TOKEN
# image: registry.example.org/team/build:7   # with launchers that have containers, as are:
# cpu: 2
# memory: 4GiB
# docker: true                   # a Docker engine of its own, for compose files and tests with containers
`
}
