import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { refuseMangled } from '../../cli/utf8.ts'
import { temporaryDirectory } from '../helpers/temporary.ts'

test('a word that lost bytes on its way to us is refused, one that was typed so is not', async () => {
  const directory = temporaryDirectory()
  const [good, bad] = [join(directory, 'good'), join(directory, 'bad')]
  await writeFile(good, 'exec\0\ufffd\0')
  await writeFile(bad, Buffer.from([0x65, 0, 0xff, 0]))
  await refuseMangled(['plain', 'žluť'], [bad])
  await refuseMangled(['a\ufffd'], [good])
  await refuseMangled(['a\ufffd'], [join(directory, 'missing')])
  await expect(refuseMangled(['x', 'a\ufffd'], [good, bad])).rejects.toMatchObject({
    code: 'invalid',
    message: expect.stringContaining('is not valid UTF-8'),
  })
})
