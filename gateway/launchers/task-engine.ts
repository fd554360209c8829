/**
 * What a task and its Docker engine share, with any launcher that has containers: the socket, and the folders of the work,
 * so that bind mounts of them mean the same to both.
 */
import { join } from 'node:path'
import { ENGINE_FOLDERS } from '../../protocol/run.ts'
import { CONTAINER_DIRECTORY } from './launcher.ts'

const SOCKET_FOLDER = 'docker'

/** In both containers. */
export const ENGINE_SOCKET = join(CONTAINER_DIRECTORY, SOCKET_FOLDER, 'docker.sock')
/** Each a volume, at the same path in both containers. */
export const SHARED_FOLDERS = [SOCKET_FOLDER, ...ENGINE_FOLDERS].map((name) => join(CONTAINER_DIRECTORY, name))
/** The engine's alone, and a volume: a layered file system cannot lie on another. */
export const ENGINE_DATA = '/var/lib/docker'

/** By its name: the usual images open a TCP port as well when they are given options alone. */
export const engineCommand = (args: readonly string[]): string[] => [
  'dockerd',
  `--host=unix://${ENGINE_SOCKET}`,
  ...args,
]
