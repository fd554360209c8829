/** A command that opens a shell through the line. */
export interface Side {
  argv: string[]
  env: Record<string, string>
  close(): Promise<void>
}
