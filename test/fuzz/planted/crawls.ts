import type { Target } from "../Target.ts"

export const target: Target = {
  seeds: [new Uint8Array(8)],
  dictionary: [],
  maxLength: 64,
  lifetime: 1,
  bound: 10,
  start: () => (input) => {
    if (input[0] !== 0x2e) return
    const until = process.threadCpuUsage().user + 30_000
    while (process.threadCpuUsage().user < until) {
      // A pattern that tries every way.
    }
  }
}
