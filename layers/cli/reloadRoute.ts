import * as Effect from "effect/Effect"
import { ControlError } from "../../src/cli/ControlClient.ts"
import type { ReloadRefused, ReloadReport } from "../../src/control/Registry.ts"
import { jsonRoute } from "./controlRoute.ts"

/** `POST /v1/reload`: what has changed; 409 and the reason when nothing has. */
export const reloadRoute = (reload: Effect.Effect<ReloadReport, ReloadRefused>) =>
  jsonRoute("POST", "/v1/reload", () => Effect.mapError(reload, ({ message }) => new ControlError({ message })))
