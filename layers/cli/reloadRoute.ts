import { realpath } from "node:fs/promises"
import * as Effect from "effect/Effect"
import type { ReloadAnswer } from "../../src/cli/askReload.ts"
import { ControlError } from "../../src/cli/ControlClient.ts"
import type { ReloadRefused, ReloadReport } from "../../src/control/Registry.ts"
import { jsonRoute } from "./controlRoute.ts"

/** `POST /v1/reload`: what has changed, in which file; 409 and the reason when nothing has. */
export const reloadRoute = (reload: Effect.Effect<ReloadReport, ReloadRefused>, file?: string) =>
  jsonRoute("POST", "/v1/reload", () =>
    Effect.gen(function* () {
      const report = yield* Effect.mapError(reload, ({ message }) => new ControlError({ message }))
      return { ...report, file: file === undefined ? null : yield* realPathOf(file) } satisfies ReloadAnswer
    })
  )

/** One that is gone by now is called as before. */
const realPathOf = (file: string): Effect.Effect<string> =>
  Effect.orElseSucceed(
    Effect.tryPromise(() => realpath(file)),
    () => file
  )
