import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import type { DemoOptions } from "../../cli/Programs.ts"
import type { Lab } from "./Lab.ts"
import { tellPortalStory } from "./portalStory.ts"
import { tellStory } from "./story.ts"
import { emptyResult, type StoryFailed, type StoryResult } from "./StoryResult.ts"

/**
 * The `demo` command: tells the story, and with `json` prints one object as the last line, also when a step failed.
 * Fails with the step that did; `break` makes the gateway break a promise, so that it must.
 */
export const demo = (options: DemoOptions): Effect.Effect<void, StoryFailed, Lab> =>
  Effect.suspend(() => {
    let measured: StoryResult = emptyResult
    const report = (part: Partial<StoryResult>): void => {
      measured = { ...measured, ...part }
    }
    const print = (result: StoryResult) => (options.json ? Console.log(JSON.stringify(result)) : Effect.void)
    const story = options.portal ? tellPortalStory : tellStory(options.break, report)
    return story.pipe(
      Effect.andThen(Effect.suspend(() => print({ ...measured, ok: true }))),
      Effect.tapError((error) => print({ ...measured, ok: false, failed: error.step }))
    )
  })
