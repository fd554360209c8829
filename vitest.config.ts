import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 30_000,
    hookTimeout: 30_000,
    // Two cores is the machine we promise to work on; end-to-end files start several processes each.
    maxWorkers: 2,
    reporters: ['default'],
  },
})
