/** The client side of the control socket. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import { ControlClient, ControlError, type ControlRequest } from "../../src/cli/ControlClient.ts"
import { exchange, maxLineLength, noAnswer, type Reader, silent, timeoutMs } from "./controlExchange.ts"

/** Far above the largest report. */
const maxAnswerLength = 64 << 20

export const layer: Layer.Layer<ControlClient> = Layer.succeed(ControlClient, {
  isListening: (socket) => Effect.promise(async () => (await import("./isListening.ts")).isListening(socket)),
  request: (socket, request) =>
    Effect.callback<string, ControlError>((resume) => {
      const chunks: Array<string> = []
      let length = 0
      return ask(socket, request, {
        chunk: (text) => {
          chunks.push(text)
          length += text.length
          return length <= maxAnswerLength
        },
        end: () => resume(Effect.succeed(chunks.join(""))),
        fail: (error) => resume(error)
      })
    }).pipe(
      Effect.timeoutOrElse({ duration: request.withinMs ?? timeoutMs, orElse: () => new ControlError(silent(socket)) }),
      Effect.filterOrFail(
        (text) => text !== "",
        () => new ControlError(noAnswer)
      )
    ),
  lines: (socket, request) =>
    Stream.callback<string, ControlError>((queue) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          let line = ""
          return ask(socket, request, {
            chunk: (text) => {
              const [first, ...others] = `${line}${text}`.split("\n")
              const whole = others.length === 0 ? [] : [first!, ...others.slice(0, -1)]
              line = others.length === 0 ? first! : others.at(-1)!
              for (const each of whole) Queue.offerUnsafe(queue, each)
              return line.length <= maxLineLength
            },
            end: () => Queue.endUnsafe(queue),
            fail: (error) => void Queue.failCauseUnsafe(queue, Cause.fail(error))
          })
        }),
        (stop) => stop
      )
    ).pipe(
      Stream.timeoutOrElse({
        duration: request.withinMs ?? timeoutMs,
        orElse: () => Stream.fail(new ControlError(silent(socket)))
      }),
      Stream.filter((line) => line !== "")
    )
})

const ask = (
  socket: string,
  request: ControlRequest,
  reader: Omit<Reader, "fail"> & { readonly fail: (error: ControlError) => void }
): Effect.Effect<void> => {
  const stop = exchange(socket, request, { ...reader, fail: (failure) => reader.fail(new ControlError(failure)) })
  return Effect.sync(stop)
}
