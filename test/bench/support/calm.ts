/** A machine that does nothing else: what others run on it would be measured along. */
import { readFileSync } from "node:fs"
import { Effect } from "effect"

const sampleMs = 200
/** Of all processors together. */
const idleEnough = 0.9

/** Waits until the machine is idle, at most `seconds`; whether it was in the end. */
export const untilCalm = Effect.fnUntraced(function* (seconds: number) {
  for (let waited = 0; waited < seconds * 1_000; waited += sampleMs) {
    const before = processors()
    yield* Effect.sleep(sampleMs)
    const after = processors()
    if (after.idle - before.idle >= idleEnough * (after.all - before.all)) return true
  }
  return false
})

/** Ticks of 10 ms since the start; waiting for a disk counts as idle. */
export const processors = (): { readonly idle: number; readonly all: number } => {
  const [, ...fields] = readFileSync("/proc/stat", "utf8").split("\n", 1)[0]!.trim().split(/\s+/)
  const ticks = fields.slice(0, 8).map(Number)
  return { idle: ticks[3]! + ticks[4]!, all: ticks.reduce((a, b) => a + b, 0) }
}
