/** What `launchers.docker.taskEngine` can be on this machine: Debian's dockerd in an image, with the rights that it can be given. */
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { DockerSection } from '../../protocol/launcher-config.ts'
import type { DockerEngine } from './docker-engine.ts'
import { copyProgram, importFolder, which } from './docker-images.ts'

const PROGRAMS = [
  'dockerd',
  'containerd',
  'containerd-shim-runc-v2',
  'runc',
  'docker-proxy',
  'docker-init',
  'sh',
  'mount',
]
/** As the usual images do it for a container that is not privileged, where control groups are mounted one by one. */
const ENTRY = `#!/bin/sh
for group in /sys/fs/cgroup /sys/fs/cgroup/*; do mount -o remount,bind,rw "$group"; done 2> /dev/null
exec "$@"
`
/** All that an engine needs, where this machine itself may not give all rights there are. */
const CAPABILITIES = ['SYS_ADMIN', 'NET_ADMIN', 'MKNOD', 'SETPCAP', 'SETFCAP', 'NET_RAW']

export interface TaskEngineImage {
  settings: NonNullable<DockerSection['taskEngine']>
  remove(): void
}

/** @param network of the engine, where the task's is the machine's: `none` where the tests' engine has no other */
export function importTaskEngine(engine: DockerEngine, tag: string, network = 'none'): TaskEngineImage {
  const root = join(engine.directory, 'task-engine')
  for (const path of ['etc', 'tmp', 'proc', 'dev', 'sys', 'bin', 'run', 'var/lib'])
    mkdirSync(join(root, path), { recursive: true })
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n')
  writeFileSync(join(root, 'etc/group'), 'root:x:0:\n')
  for (const program of PROGRAMS) copyProgram(which(program), join(root, 'bin', program), root)
  writeFileSync(join(root, 'bin/entry'), ENTRY)
  chmodSync(join(root, 'bin/entry'), 0o755)
  const image = `rclaude-test-engine:${tag}`
  importFolder(engine, root, image, ['ENTRYPOINT ["/bin/entry"]', 'ENV PATH=/bin'])
  rmSync(root, { recursive: true })
  const [program, ...before] = engine.docker
  const docker = (...args: string[]) => execFileSync(program, [...before, ...args], { stdio: 'pipe' })
  const mayBePrivileged = (() => {
    try {
      docker('run', '--rm', '--network', 'none', '--privileged', image, 'sh', '-c', 'exit 0')
      return true
    } catch {
      return false
    }
  })()
  return {
    settings: {
      image,
      args: ['--storage-driver=vfs', '--iptables=false', '--bridge=none'],
      privileged: mayBePrivileged,
      capabilities: mayBePrivileged ? [] : CAPABILITIES,
      network,
    },
    remove: () => void docker('rmi', '-f', image),
  }
}
