/** The machine of a task: what can be asked of it, and what a launcher offers. */
import { z } from 'zod'
import { formatBytes } from './units.ts'

/** Of a container, with or without registry, tag and digest. It never begins like an option. */
export const ImageName = z
  .string()
  .max(500)
  .regex(/^[A-Za-z0-9][A-Za-z0-9._:/@-]*$/, 'expected the name of an image, such as registry.example.org/team/build:7')

/** CPUs, fractions too. */
export const Cpus = z.number().positive().max(1_024)

/** With less no agent starts. */
export const MIN_MEMORY_BYTES = 64 * 1024 ** 2
export const MemoryBytes = z
  .number()
  .int()
  .min(MIN_MEMORY_BYTES, 'expected 64MiB or more')
  .max(64 * 1024 ** 4)

/** What a task asks for; what it leaves out is as the launcher's configuration says. */
export const Machine = z.object({
  cpu: Cpus.optional(),
  memoryBytes: MemoryBytes.optional(),
  image: ImageName.optional(),
  /** Cheaper, and may be taken away in the middle of the work. */
  spot: z.boolean().optional(),
  /** With a Docker engine of its own, for what the work does with Docker. */
  docker: z.boolean().optional(),
})
export type Machine = z.infer<typeof Machine>

/** `2 CPUs, 4.0 GiB, spot, with Docker, image example.org/build:7`; empty when nothing is said. */
export const machineText = ({ cpu, memoryBytes, spot, docker, image }: Machine): string =>
  [
    cpu === undefined ? '' : `${cpu} ${cpu === 1 ? 'CPU' : 'CPUs'}`,
    memoryBytes === undefined ? '' : formatBytes(memoryBytes),
    spot === undefined ? '' : spot ? 'spot' : 'on demand',
    docker === true ? 'with Docker' : '',
    image === undefined ? '' : `image ${image}`,
  ]
    .filter((part) => part !== '')
    .join(', ')

/** What a launcher's machines have, and what may be asked for in its place. What is absent cannot be asked for at all. */
export const Offers = z.object({
  /** The image for each coding agent. */
  images: z.record(z.string(), z.string()).optional(),
  size: z
    .object({ cpu: z.number(), maxCpu: z.number(), memoryBytes: z.number(), maxMemoryBytes: z.number() })
    .optional(),
  /** Whether it takes machines that may be taken away again, unless a task says otherwise. */
  spot: z.boolean().optional(),
  /** A Docker engine of its own, for a task that asks for one. */
  docker: z.literal(true).optional(),
})
export type Offers = z.infer<typeof Offers>
