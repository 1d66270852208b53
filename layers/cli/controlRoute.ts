/** What a part of the gateway answers at the control socket: one route each, made where its services are. */
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Schema from "effect/Schema"
import { ControlError, type ControlRequest } from "../../src/cli/ControlClient.ts"

export type ControlRoute = HttpRouter.Route

/** Answers in one JSON text; what fails is told by status 409 and its message. */
export const jsonRoute = Effect.fnUntraced(function* <R>(
  method: ControlRequest["method"],
  path: ControlRequest["path"],
  answer: (request: HttpServerRequest) => Effect.Effect<unknown, ControlError, R>
): Effect.fn.Return<ControlRoute, never, R> {
  const context = yield* Effect.context<R>()
  const handler = (request: HttpServerRequest) =>
    answer(request).pipe(
      Effect.map((value) => HttpServerResponse.jsonUnsafe(value)),
      Effect.catch(({ message }) => Effect.succeed(HttpServerResponse.jsonUnsafe({ message }, { status: 409 }))),
      Effect.provide(context)
    )
  return HttpRouter.route(method, path, handler)
})

/** What was sent along. */
export const bodyOf = <A, I>(request: HttpServerRequest, body: Schema.Codec<A, I>): Effect.Effect<A, ControlError> =>
  Effect.flatMap(request.json, Schema.decodeUnknownEffect(body)).pipe(
    Effect.mapError(
      () => new ControlError({ message: "the request is of another version — use the sallyport that the gateway runs" })
    )
  )
