/** What `rclaude run --json` printed, checked line by line against the schema that is published. */
import { readFileSync } from 'node:fs'
import { z } from 'zod'

export interface PrintedLine {
  type: string
  schema?: string
  taskId?: string
  seq?: number
  exitCode?: number
  task?: { id: string; state: string; outcome?: string }
}

const published = z.fromJSONSchema(JSON.parse(readFileSync('docs/run-json.schema.json', 'utf8')))

/** @throws when a line is none of the format */
export const runLines = (text: string): PrintedLine[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const parsed = published.safeParse(JSON.parse(line))
      if (!parsed.success) throw new Error(`not of the schema: ${line}\n${parsed.error.message}`)
      return JSON.parse(line) as PrintedLine
    })
