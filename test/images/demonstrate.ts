/** The demo in containers: the gateway in one, its tasks in others, Claude Code against the scripted model. */
import { execFileSync, spawn } from 'node:child_process'
import { cpSync, mkdirSync, readdirSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { startModelServer } from '../../demo/model-server.ts'
import { DEMO_PROMPT, makeDemoRepository } from '../../demo/repository.ts'
import { fixFailingTest } from '../../demo/scripts.ts'
import { type DockerEngine, runDocker } from '../helpers/docker-engine.ts'
import { eventually } from '../helpers/eventually.ts'

/** For a healthcheck to have been made. */
const HEALTHY_MS = 60_000

export async function demonstrate(engine: DockerEngine, images: Record<'gateway' | 'agent' | 'foreign', string>) {
  const model = await startModelServer({ script: fixFailingTest() })
  const repository = join(engine.directory, 'tea-timer')
  await makeDemoRepository(repository)
  const folder = agentFolder(engine)
  try {
    await withGateway(engine, images.gateway, { image: images.agent }, (rclaude) => fixes(rclaude, repository))
    const foreign = { image: images.foreign, agentFolder: folder }
    execFileSync('git', ['checkout', '-q', '.'], { cwd: repository })
    // It has no npm, so the model is told that the tests fail, and repairs the same line.
    await withGateway(engine, images.gateway, foreign, (rclaude) => fixes(rclaude, repository))
    if (!model.requests.some(({ kind }) => kind === 'conversation')) throw new Error('nobody talked to the model')
  } finally {
    await model.close()
  }

  async function fixes(rclaude: Rclaude, cwd: string): Promise<void> {
    const credentials = { ANTHROPIC_BASE_URL: model.url, ANTHROPIC_API_KEY: 'a-key-that-only-the-demo-takes' }
    await rclaude(['run', DEMO_PROMPT], cwd, credentials)
    await rclaude(['apply', '@last'], cwd, {})
    execFileSync('npm', ['test', '--silent'], { cwd, stdio: 'inherit' })
  }
}

type Rclaude = (args: string[], cwd: string, env: Record<string, string>) => Promise<void>

/** Node and the agent, and Claude Code beside them: what docs/docker.md says for images that have none of it. */
function agentFolder({ directory }: DockerEngine): string {
  const folder = join(directory, 'agent')
  mkdirSync(folder)
  cpSync(process.execPath, join(folder, 'node'))
  for (const name of readdirSync('dist').filter((name) => /^agent\.js$|^pty-.*\.node$/.test(name)))
    cpSync(join('dist', name), join(folder, name))
  cpSync('node_modules/@anthropic-ai/claude-code', join(folder, 'node_modules/@anthropic-ai/claude-code'), {
    recursive: true,
  })
  return folder
}

async function withGateway(
  engine: DockerEngine,
  image: string,
  section: { image: string; agentFolder?: string },
  work: (rclaude: Rclaude) => Promise<void>,
): Promise<void> {
  const socket = engine.host.replace(/^unix:\/\//, '')
  const settings = {
    LISTEN__PORT: '0',
    LAUNCHERS__DEFAULT: 'docker',
    LAUNCHERS__PROCESS__ENABLED: 'false',
    LAUNCHERS__DOCKER__IMAGE: section.image,
    LAUNCHERS__DOCKER__NETWORK: 'host',
    LAUNCHERS__DOCKER__PULL: 'never',
    ...(section.agentFolder && { LAUNCHERS__DOCKER__AGENT_FOLDER: section.agentFolder }),
  }
  const env = Object.entries(settings).flatMap(([name, value]) => ['-e', `RCLAUDE_${name}=${value}`])
  const mounts = ['-v', `${socket}:/var/run/docker.sock`, '--group-add', String(statSync(socket).gid)]
  const hardened = ['--read-only', '--tmpfs', '/tmp', '--cap-drop', 'ALL', '--security-opt', 'no-new-privileges']
  const gateway = runDocker(engine, ['run', '-d', '--init', '--network', 'host', ...hardened, ...mounts, ...env, image])
  try {
    const read = (file: string) => runDocker(engine, ['exec', gateway, 'cat', `/var/lib/rclaude/${file}`])
    const inspect = (format: string) => runDocker(engine, ['inspect', '-f', format, gateway])
    await eventually('the gateway is healthy', () => inspect('{{.State.Health.Status}}') === 'healthy', HEALTHY_MS)
    console.log(`gateway healthy as ${runDocker(engine, ['exec', gateway, 'id', '-un'])}; tasks in ${section.image}`)
    const { url } = JSON.parse(read('gateway.json')) as { url: string }
    const home = join(engine.directory, 'home')
    mkdirSync(home, { recursive: true })
    const own = { PATH: process.env.PATH, HOME: home, RCLAUDE_GATEWAY: url, RCLAUDE_TOKEN: read('admin-token') }
    await work((args, cwd, extra) => succeeds([resolve('dist/rclaude.js'), ...args], cwd, { ...own, ...extra }))
    const left = runDocker(engine, ['ps', '-a', '-q', '--filter', 'label=rclaude.gateway'])
    if (left !== '') throw new Error(`containers were left: ${left}`)
  } catch (error) {
    console.log(runDocker(engine, ['logs', '--tail', '40', gateway]))
    throw error
  } finally {
    runDocker(engine, ['rm', '-f', '-v', gateway])
  }
}

function succeeds(args: string[], cwd: string, env: NodeJS.ProcessEnv): Promise<void> {
  const child = spawn(process.execPath, args, { cwd, env, stdio: ['ignore', 'inherit', 'inherit'] })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) =>
      code === 0 ? resolve() : reject(new Error(`rclaude ${args[1]} exited with ${code}`)),
    )
  })
}
