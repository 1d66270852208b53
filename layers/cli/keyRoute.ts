import * as Effect from "effect/Effect"
import { ControlError } from "../../src/cli/ControlClient.ts"
import { type KeyRefused, type KeyReport, KeyRequest } from "../../src/control/standalone/KeyRotation.ts"
import { bodyOf, jsonRoute } from "./controlRoute.ts"

/** `POST /v1/key/rotate`: which keys answer from now on, and who has not taken the new one; 409 and why nothing was done. */
export const keyRoute = (change: (request: KeyRequest) => Effect.Effect<KeyReport, KeyRefused>) =>
  jsonRoute("POST", "/v1/key/rotate", (request) =>
    Effect.flatMap(bodyOf(request, KeyRequest), (wanted) =>
      Effect.mapError(change(wanted), ({ message }) => new ControlError({ message }))
    )
  )
