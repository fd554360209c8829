/** Loaded only when there is a file to read. */
import { parseDocument } from 'yaml'

/** @throws {Error} that names the line */
export function parseYaml(text: string): unknown {
  const document = parseDocument(text)
  const [error] = document.errors
  if (error !== undefined) throw new Error(error.message.split('\n')[0])
  return document.toJS()
}
