import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "fast",
          include: ["test/**/*.test.ts"],
          exclude: ["test/system/**", "test/bench/**"],
          pool: "threads",
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
