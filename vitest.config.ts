import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

/** Of the programs that tests start: they load the same modules again and again, which are compiled once this way. */
const env = { NODE_COMPILE_CACHE: fileURLToPath(new URL("node_modules/.cache/compiled", import.meta.url)) }

/** What these do is to wait, most of the time, each in a lab of its own: two of them run at a time. */
const waiting = [
  "dnsChanges",
  "dnsClients",
  "dnsUpstreams",
  "dnsmasq",
  "foreignIce",
  "hostNetwork",
  "portalFaults",
  "resources",
  "turn"
].map((name) => `test/system/${name}.test.ts`)

const system = { pool: "forks", env, testTimeout: 60_000, hookTimeout: 60_000 } as const

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
          ...system,
          name: "system",
          include: ["test/system/**/*.test.ts"],
          exclude: waiting,
          fileParallelism: false,
          // Of the tests of one file that say that they may run beside others.
          maxConcurrency: 2
        }
      },
      {
        test: {
          ...system,
          name: "system-waiting",
          include: waiting,
          testTimeout: 2 * 60_000,
          maxWorkers: 2,
          maxConcurrency: 1,
          sequence: { groupOrder: 1 }
        }
      }
    ]
  }
})
