import { replay } from "./replay.ts"
import type { Story } from "./Story.ts"
import type { Target } from "./Target.ts"

/** Shorter stories that end as badly, tried for so long. */
const patienceMs = 3_000

/** Leaves out inputs, then bytes, in pieces that get smaller (after Zeller and Hildebrandt's ddmin). */
export const shrink = (target: Target, story: Story): Story => {
  const until = performance.now() + patienceMs
  const without = <A>(all: ReadonlyArray<A>, stillBad: (rest: ReadonlyArray<A>) => boolean): ReadonlyArray<A> => {
    let kept = all
    for (let size = kept.length >> 1; size >= 1; size >>= 1) {
      for (let at = 0; at < kept.length && performance.now() < until;) {
        const rest = [...kept.slice(0, at), ...kept.slice(at + size)]
        if (rest.length > 0 && stillBad(rest)) kept = rest
        else at += size
      }
    }
    return kept
  }
  const isBad = (inputs: ReadonlyArray<Uint8Array>): boolean => replay(target, { ...story, inputs }) !== undefined
  const inputs = without(story.inputs, isBad)
  const last = inputs.at(-1)!
  const before = inputs.slice(0, -1)
  const bytes = without([...last], (rest) => isBad([...before, Uint8Array.from(rest)]))
  return { ...story, inputs: [...before, Uint8Array.from(bytes)] }
}
