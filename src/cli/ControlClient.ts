import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"
import { otherVersionMessage } from "./otherVersion.ts"

/** The running gateway cannot be asked or served, or it refused; `message` is one line with cause and fix. */
export class ControlError extends Schema.TaggedError<ControlError>()("ControlError", {
  message: Schema.String,
  /** Nothing listens: there is certainly no gateway at the socket. */
  notRunning: Schema.optionalKey(Schema.Boolean)
}) {}

export interface ControlRequest {
  readonly method: "GET" | "POST"
  /** With the query, if any. */
  readonly path: `/v1/${string}`
  readonly body?: string
  /** Milliseconds to the end of the answer (`lines`: to the next one); 5,000 when left out. */
  readonly withinMs?: number
}

/** Asks a running gateway over its control socket. */
export class ControlClient extends Context.Service<
  ControlClient,
  {
    /** Whether somebody listens at the socket. */
    readonly isListening: (socket: string) => Effect.Effect<boolean>
    /** The text of the answer. */
    readonly request: (socket: string, request: ControlRequest) => Effect.Effect<string, ControlError>
    /** The lines of an answer that goes on, as they come; empty ones, which keep the connection alive, are left out. */
    readonly lines: (socket: string, request: ControlRequest) => Stream.Stream<string, ControlError>
  }
>()("sallyport/cli/ControlClient") {}

/** The answer as what it should be. */
export const askGateway = Effect.fnUntraced(function* <A, I>(
  socket: string,
  request: ControlRequest,
  answer: Schema.Codec<A, I>
) {
  const text = yield* (yield* ControlClient).request(socket, request)
  return yield* Effect.mapError(Schema.decodeEffect(Schema.fromJsonString(answer))(text), () => otherVersion)
})

export const otherVersion = new ControlError({ message: otherVersionMessage })
