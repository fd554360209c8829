/** The Chromium of this machine. */
import { existsSync } from 'node:fs'
import { type BrowserContext, chromium } from 'playwright-core'
import { onTestFinished } from 'vitest'

export const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync)
if (CHROMIUM === undefined)
  console.warn('previews in a browser: not tried, there is no Chromium (apt install chromium)')

/** @param args of the program, `--no-sandbox` aside. Certificates are not looked at: what it should trust is the test's. */
export async function openBrowser(...args: string[]): Promise<BrowserContext> {
  // The sandbox needs a user other than root, and name spaces that containers seldom have.
  const browser = await chromium.launch({ executablePath: CHROMIUM ?? '', args: ['--no-sandbox', ...args] })
  onTestFinished(() => browser.close())
  return browser.newContext({ ignoreHTTPSErrors: true })
}
