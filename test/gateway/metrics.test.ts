/** What operators read: /metrics, and the tunnel's health on a task. */
import { expect, test } from 'vitest'
import { eventually } from '../helpers/eventually.ts'
import { dialAs, newCredential, type StubGateway, startStubGateway } from '../helpers/stub-gateway.ts'

async function metrics(gateway: StubGateway): Promise<string> {
  const response = await fetch(`${gateway.url}/metrics`, { headers: { authorization: `Bearer ${gateway.token}` } })
  expect(response.status).toBe(200)
  expect(response.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/)
  return response.text()
}

/** Value of the series with exactly these labels, undefined when there is none. */
function valueIn(text: string, series: string): number | undefined {
  const line = text.split('\n').find((one) => one.startsWith(`${series} `))
  return line === undefined ? undefined : Number(line.slice(series.length + 1))
}

test('a tunnel has its own series while it lives, and what ended is counted', async () => {
  const gateway = await startStubGateway()
  const launch = await gateway.launch()
  const labels = `{task_id="${launch.taskId}"}`
  const before = await metrics(gateway)
  expect(valueIn(before, 'rclaude_tasks{state="starting"}')).toBe(1)
  expect(valueIn(before, 'rclaude_tunnels{connection="up"}')).toBe(0)

  const tunnel = await dialAs(gateway, { ...launch, credential: newCredential() })
  await eventually('it is counted', async () => valueIn(await metrics(gateway), 'rclaude_tunnels_opened_total') === 1)
  const during = await metrics(gateway)
  expect(valueIn(during, 'rclaude_tunnels{connection="up"}')).toBe(1)
  expect(valueIn(during, 'rclaude_tasks{state="running"}')).toBe(1)
  for (const name of ['in_flight_bytes', 'streams', 'resumes_total', 'stream_resets_total'])
    expect(valueIn(during, `rclaude_tunnel_${name}${labels}`), name).toBeGreaterThanOrEqual(0)
  expect(valueIn(during, `rclaude_tunnel_sent_bytes_total${labels}`)).toBeGreaterThan(0)

  await expect(dialAs(gateway, { ...launch, credential: newCredential() })).rejects.toThrow(/401/)
  await tunnel.close('enough')
  await eventually(
    'its end is counted',
    async () => valueIn(await metrics(gateway), 'rclaude_tunnels_closed_total{reason="peer"}') === 1,
  )
  const after = await metrics(gateway)
  expect(valueIn(after, 'rclaude_dials_refused_total{code="unauthenticated"}')).toBe(1)
  expect(after).not.toContain(labels)
})

test('names follow the conventions: counters end in _total, units are seconds and bytes', async () => {
  const gateway = await startStubGateway()
  const types = [...(await metrics(gateway)).matchAll(/^# TYPE (rclaude_\S+) (\S+)$/gm)]
  expect(types.length).toBeGreaterThan(10)
  for (const [, name = '', type] of types) {
    expect(name.endsWith('_total'), name).toBe(type === 'counter')
    expect(name).not.toMatch(/_(ms|milliseconds|kb|mb)\b/)
  }
})

test('a task says how its tunnel is doing, and nothing of it is stored', async () => {
  const gateway = await startStubGateway()
  const launch = await gateway.launch()
  const tunnel = await dialAs(gateway, { ...launch, credential: newCredential() })
  const running = await eventually('it runs', async () => {
    const task = await gateway.getTask(launch.taskId)
    return task.state === 'running' ? task : undefined
  })
  expect(running.connection.tunnel).toMatchObject({ isAttached: true, resumes: 0 })
  await tunnel.close('enough')
  await eventually('the tunnel is gone', async () => {
    const task = await gateway.getTask(launch.taskId)
    return task.state === 'running' && !task.connection.online && task.connection.tunnel === undefined
  })
})
