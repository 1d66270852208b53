import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Stream from "effect/Stream"
import type { LoggedEvent } from "../../src/events/Event.ts"
import { EventLog } from "../../src/events/EventLog.ts"
import type { ControlRoute } from "./controlRoute.ts"

/** Keeps the connection alive while nothing happens. */
const aliveEvery = "10 seconds"

/** `GET /v1/log`: what is kept, one JSON text a line; with `?follow=true` each event as it comes behind it. */
export const logRoute: Effect.Effect<ControlRoute> = Effect.map(EventLog, ({ follow, list }) =>
  HttpRouter.route("GET", "/v1/log", (request) => {
    const following = new URL(request.url, "http://gateway").searchParams.get("follow") === "true"
    const lines = following
      ? Stream.merge(
          Stream.map(follow, lineOf),
          Stream.map(Stream.tick(aliveEvery), () => "\n")
        )
      : Stream.map(Stream.fromIterableEffect(list), lineOf)
    return Effect.succeed(HttpServerResponse.stream(Stream.encodeText(lines), { contentType: "application/x-ndjson" }))
  })
)

const lineOf = (event: LoggedEvent): string => `${JSON.stringify(event)}\n`
