/** Templates of CloudFormation as JSON: `!Ref x` becomes `{ Ref: x }`, `!If [...]` becomes `{ 'Fn::If': [...] }`. */
import { readFileSync } from 'node:fs'
import { isMap, isScalar, isSeq, parseDocument, visit } from 'yaml'

export type Json = string | number | boolean | null | Json[] | { [key: string]: Json }

export interface Template {
  Parameters: Record<string, { [key: string]: Json }>
  Resources: Record<string, { Type: string; Properties: { [key: string]: Json } }>
  Outputs: Record<string, { Value: Json }>
}

/** @throws for what YAML has and CloudFormation does not take: anchors, aliases, merges */
export function readTemplate(file: string): Template {
  const document = parseDocument(readFileSync(file, 'utf8'), { logLevel: 'error', merge: false })
  if (document.errors.length > 0) throw document.errors[0]
  visit(document, {
    Alias() {
      throw new Error(`${file} has an alias, which CloudFormation does not take`)
    },
  })
  return toJson(document.contents) as unknown as Template
}

function toJson(node: unknown): Json {
  const value: Json = isMap(node)
    ? Object.fromEntries(
        node.items.map((pair) => [String(isScalar(pair.key) ? pair.key.value : pair.key), toJson(pair.value)]),
      )
    : isSeq(node)
      ? node.items.map(toJson)
      : isScalar(node)
        ? (node.value as Json)
        : null
  const tag = (node as { tag?: string } | null)?.tag
  if (tag === undefined || !/^![A-Z]/.test(tag)) return value
  const name = tag.slice(1)
  return { [name === 'Ref' || name === 'Condition' ? name : `Fn::${name}`]: value }
}
