/** The CLI itself, as a user runs it: three programs whose output and exit code are checked. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { join } from 'node:path'
import { TaskEvent } from '../../../protocol/event.ts'
import { ProcessInfo } from '../../../protocol/process.ts'
import { routes } from '../../../protocol/routes.ts'
import { type Attachment, attachment, fired, insist, type Stage } from './attachment.ts'
import { checkEvents } from './events.ts'
import { Expected, Fault } from './expected.ts'
import { putFile } from './files.ts'

const PERIOD_MS = 200

/** `rclaude exec -i`: lines in, the same lines out. */
export const execProgram = (stage: Stage, name: string): Attachment =>
  attachment(name, async (isReady) => {
    const expected = new Expected(`${name} stdout`)
    const script = 'while read -r line; do echo "$line"; done; exit 7'
    const program = run(stage, ['exec', '-i', stage.taskId, '--', 'sh', '-c', script], (chunk) => {
      expected.accept(chunk)
      isReady()
    })
    let n = 0
    const say = () => {
      const line = Buffer.from(`${name} line ${++n}\n`)
      expected.expect(line)
      program.child.stdin.write(line)
    }
    const timer = setInterval(say, PERIOD_MS)
    void fired(stage.ending).then(() => {
      clearInterval(timer)
      program.child.stdin.end()
    })
    await program.exits(7).finally(() => clearInterval(timer))
    expected.end()
    return { checked: expected.received, retries: 0 }
  })

/** `rclaude attach TASK/PROCESS`: a detached process that counts until a file appears. */
export const attachProgram = (stage: Stage, name: string): Attachment =>
  attachment(name, async (isReady) => {
    const flag = `${name.replaceAll(' ', '-')}.stop`
    const script = `i=0; while [ ! -e ${flag} ]; do i=$((i+1)); echo "count $i"; sleep 0.2; done; echo end; exit 9`
    const response = await insist(stage, () =>
      stage.client.raw(routes.startProcess, {
        params: { taskId: stage.taskId },
        rawBody: JSON.stringify({ argv: ['sh', '-c', script], detached: true }),
        headers: { 'content-type': 'application/json' },
      }),
    )
    const { id } = ProcessInfo.parse(await response.json())
    let text = ''
    const program = run(stage, ['attach', `${stage.taskId}/${id}`], (chunk) => {
      text += chunk.toString()
      isReady()
    })
    void fired(stage.ending).then(() => putFile(stage, flag, Buffer.from('stop')))
    await program.exits(9)
    const lines = text.split('\n').length - 2
    const expected = `${Array.from({ length: lines }, (_, n) => `count ${n + 1}\n`).join('')}end\n`
    if (lines < 1 || text !== expected)
      throw new Fault(`${name}: its output is not 1 to ${lines} and "end": ${text.slice(-200)}`)
    return { checked: text.length, retries: 0 }
  })

/** `rclaude logs -f`: every event, to the end of the task. */
export const logsProgram = (stage: Stage, name: string): Attachment => ({
  ...attachment(name, async (isReady) => {
    const check = checkEvents(name, 0)
    let rest = ''
    const program = run(stage, ['logs', '-f', '--raw', stage.taskId], (chunk) => {
      const lines = (rest + chunk.toString()).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) check(TaskEvent.parse(JSON.parse(line)))
      isReady()
    })
    await program.exits(0)
    return { checked: check.count(), retries: 0 }
  }),
  followsTask: true,
})

interface Program {
  child: ChildProcessWithoutNullStreams
  /** @throws Fault when its code is another, or what `onOutput` threw */
  exits(code: number): Promise<void>
}

function run({ world }: Stage, args: string[], onOutput: (chunk: Buffer) => void): Program {
  const child = spawn(process.execPath, [join(world.dist, 'rclaude.js'), ...args], {
    cwd: world.directory,
    env: { ...world.userEnvironment(), ...world.asAdmin },
  })
  let fault: unknown
  let complaints = ''
  child.stdin.on('error', () => {}) // its end says more
  child.stderr.on('data', (chunk: Buffer) => {
    complaints = (complaints + chunk.toString()).slice(-2_000)
  })
  child.stdout.on('data', (chunk: Buffer) => {
    try {
      if (fault === undefined) onOutput(chunk)
    } catch (error) {
      fault = error
      child.kill()
    }
  })
  const closed = new Promise<[number | null, NodeJS.Signals | null]>((resolve) =>
    child.once('close', (code, signal) => resolve([code, signal])),
  )
  return {
    child,
    async exits(wanted) {
      const [code, signal] = await closed
      if (fault !== undefined) throw fault
      if (code !== wanted) throw new Fault(`rclaude ${args[0]}: exit ${code ?? signal}, not ${wanted}: ${complaints}`)
    },
  }
}
