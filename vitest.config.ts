import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

/** Of the programs that tests start: they load the same modules again and again, which are compiled once this way. */
const env = { NODE_COMPILE_CACHE: fileURLToPath(new URL("node_modules/.cache/compiled", import.meta.url)) }

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "fast",
          include: ["test/**/*.test.ts"],
          exclude: ["test/system/**", "test/bench/**"],
          pool: "threads",
          env,
          // Vitest's default leaves one processor out: of two, half.
          maxWorkers: "100%",
          // Generous: on a loaded machine a start of node alone takes seconds.
          testTimeout: 20_000,
          hookTimeout: 20_000
        }
      },
      {
        test: {
          name: "system",
          include: ["test/system/**/*.test.ts"],
          pool: "forks",
          env,
          fileParallelism: false,
          // Of the tests of one file that say that they may run beside others.
          maxConcurrency: 2,
          testTimeout: 60_000,
          hookTimeout: 60_000
        }
      }
    ]
  }
})
