import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { DataPlane } from "../../src/dataplane/DataPlane.ts"
import type { Traffic } from "../../src/dataplane/notices.ts"
import { forEachNotice } from "../../src/loops/forEachNotice.ts"
import { Refresh } from "../../src/resolution/Refresh.ts"
import { Resolutions } from "../../src/resolution/Resolutions.ts"

/** Runs the loop over the data plane's notices for as long as the layer lives. */
export const layer: Layer.Layer<Refresh, never, Resolutions | DataPlane> = Layer.effect(
  Refresh,
  Effect.gen(function* () {
    const resolutions = yield* Resolutions

    const decide = Effect.fn("Refresh.decide", { root: true })(function* (notice: Traffic) {
      const { mapping, cause } = notice
      yield* Effect.annotateCurrentSpan({ mapping, cause })
      if (cause !== "Answered") yield* resolutions.refresh(mapping, cause)
    })

    const traffic = (notice: Traffic): Effect.Effect<void> =>
      notice.cause === "Answered" ? resolutions.answered(notice.mapping) : decide(notice)

    yield* forEachNotice("Refresh", { Traffic: traffic })

    return Refresh.of({ traffic })
  })
)
