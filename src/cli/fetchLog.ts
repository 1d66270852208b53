import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { LoggedEvent } from "../events/Event.ts"
import { ControlClient, type ControlError, otherVersion } from "./ControlClient.ts"

/** What the gateway at the control socket has logged, the oldest first. `follow`: and each event as it comes. */
export const fetchLog = (
  socket: string,
  { follow = false } = {}
): Stream.Stream<LoggedEvent, ControlError, ControlClient> =>
  Stream.unwrap(
    Effect.map(ControlClient, ({ lines }) =>
      lines(socket, { method: "GET", path: follow ? "/v1/log?follow=true" : "/v1/log", withinMs: 30_000 })
    )
  ).pipe(Stream.mapEffect((line) => Effect.mapError(decode(line), () => otherVersion)))

const decode = Schema.decodeEffect(Schema.fromJsonString(LoggedEvent))
