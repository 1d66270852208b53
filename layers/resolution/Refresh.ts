import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import type { Traffic } from "../../src/dataplane/notices.ts"
import { Refresh } from "../../src/resolution/Refresh.ts"
import { Resolutions } from "../../src/resolution/Resolutions.ts"

/** Runs the loop over the data plane's notices for as long as the layer lives. */
export const layer: Layer.Layer<Refresh, never, Resolutions | DataPlane> = Layer.effect(
  Refresh,
  Effect.gen(function* () {
    const resolutions = yield* Resolutions
    const dataPlane = yield* DataPlane
    const notices = yield* dataPlane.notices

    const decide = Effect.fn("Refresh.decide")(function* (notice: Traffic) {
      const { mapping, cause } = notice
      yield* Effect.annotateCurrentSpan({ mapping, cause })
      if (cause !== "Answered") yield* resolutions.refresh(mapping, cause)
    })

    const traffic = (notice: Traffic): Effect.Effect<void> =>
      notice.cause === "Answered" ? resolutions.answered(notice.mapping) : decide(notice)

    yield* Queue.take(notices).pipe(
      Effect.flatMap((notice) => (notice._tag === "Traffic" ? traffic(notice) : Effect.void)),
      Effect.forever,
      Effect.forkScoped
    )

    return Refresh.of({ traffic })
  })
)
