/** What a browser sees where there is no dev server to answer: says what is the matter and what to do. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { RclaudeError } from '../../../protocol/errors.ts'
import type { ListeningPort } from '../../../protocol/port.ts'
import { problemHeaders } from '../problem.ts'

/** A page that waits for its server looks again after so long. */
const REFRESH_SECONDS = 3

export interface ErrorPage {
  error: RclaudeError
  requestId: string
  /** A command that helps. */
  command?: string
  /** What does listen, when that is the question. */
  ports?: readonly ListeningPort[] | undefined
}

export function sendPage(request: IncomingMessage, response: ServerResponse, page: ErrorPage): void {
  if (response.headersSent) return void response.destroy()
  const { error, requestId } = page
  const isPage = request.headers.accept?.includes('text/html') === true
  const waits = isPage && request.method === 'GET' && page.ports !== undefined
  const { 'www-authenticate': _, ...headers } = problemHeaders(error, requestId)
  response.writeHead(error.status, {
    ...headers,
    'content-type': isPage ? 'text/html; charset=utf-8' : 'text/plain; charset=utf-8',
    'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    ...(waits && { refresh: String(REFRESH_SECONDS) }),
    connection: 'close',
  })
  response.end(request.method === 'HEAD' ? undefined : isPage ? html(page) : `${error.message}\n`)
}

function html({ error, requestId, command, ports }: ErrorPage): string {
  const listening = (ports ?? []).filter(({ own }) => own !== false)
  const rows = listening.map(
    ({ port, command: program = '' }) => `<tr><td>${port}</td><td><code>${escaped(program)}</code></td></tr>`,
  )
  const list =
    ports === undefined
      ? ''
      : rows.length === 0
        ? '<p>Nothing listens in the task at the moment. This page looks again by itself.</p>'
        : `<p>These do. This page looks again by itself.</p><table>${rows.join('')}</table>`
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escaped(titleOf(error))}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:10vh auto;padding:0 1rem}
td{padding-right:1.5rem}code{font-size:.9em}small{color:#777}</style>
<h1>${escaped(titleOf(error))}</h1>
<p>${escaped(error.message)}</p>
${list}
${command === undefined ? '' : `<p><code>${escaped(command)}</code></p>`}
<small>Remote Claude, request ${escaped(requestId)}</small>
</html>
`
}

const titleOf = ({ code }: RclaudeError): string => TITLES[code] ?? 'No preview'

const TITLES: Partial<Record<RclaudeError['code'], string>> = {
  port_refused: 'Nothing listens here',
  unauthenticated: 'Not let in',
  gone: 'The task has ended',
  agent_offline: 'The task is not there at the moment',
  forbidden: 'Not allowed',
  limit: 'Too many at once',
}

const ESCAPES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
const escaped = (text: string): string => text.replace(/[&<>"']/g, (one) => ESCAPES[one] ?? '')
