/** The client side of the control socket. */
import { statSync } from "node:fs"
import * as Http from "node:http"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { ControlClient, ControlError, type ControlRequest, otherVersion, Refusal } from "../../src/cli/ControlClient.ts"
import { errorCode } from "./errorCode.ts"

/** A gateway that does not answer is given up. */
const timeoutMs = 5_000
/** Far above the largest report. */
const maxAnswerLength = 64 << 20
const maxLineLength = 1 << 20

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
      Effect.timeoutOrElse({ duration: request.withinMs ?? timeoutMs, orElse: () => silent(socket) }),
      Effect.filterOrFail(
        (text) => text !== "",
        () => noAnswer
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
      Stream.timeoutOrElse({ duration: request.withinMs ?? timeoutMs, orElse: () => Stream.fail(silent(socket)) }),
      Stream.filter((line) => line !== "")
    )
})

interface Reader {
  /** `false`: enough. */
  readonly chunk: (text: string) => boolean
  readonly end: () => void
  readonly fail: (error: ControlError) => void
}

/** Yields what gives the request up. */
const ask = (socket: string, { body, method, path }: ControlRequest, reader: Reader): Effect.Effect<void> => {
  const request = Http.request({ socketPath: socket, method, path, agent: false, host: "gateway" }, (response) => {
    response.setEncoding("utf8")
    const status = response.statusCode ?? 0
    let refusal = ""
    response.on("data", (text: string) => {
      if (status !== 200) {
        if (refusal.length < maxLineLength) refusal += text
      } else if (!reader.chunk(text)) {
        request.destroy()
        reader.fail(noGateway(socket))
      }
    })
    response.once("end", () => (status === 200 ? reader.end() : reader.fail(refused(status, refusal))))
    response.once("aborted", () => reader.fail(noAnswer))
  })
  request.once("error", (error) => reader.fail(cannotAsk(socket, error)))
  request.end(body)
  return Effect.sync(() => request.destroy())
}

const decodeRefusal = Schema.decodeOption(Schema.fromJsonString(Refusal))

const refused = (status: number, text: string): ControlError => {
  if (status === 404) return otherVersion
  const message = Option.match(decodeRefusal(text), {
    onSome: (refusal) => refusal.message,
    onNone: () => `the gateway failed to answer (${status}) — look at its log`
  })
  return new ControlError({ message })
}

const noAnswer = new ControlError({
  message: "the gateway gave no answer — it is stopping or busy; try again"
})

const silent = (socket: string) =>
  new ControlError({ message: `the gateway at ${socket} does not answer — look at its log` })

const noGateway = (socket: string) =>
  new ControlError({ message: `what listens at ${socket} is no gateway — check the path` })

const cannotAsk = (socket: string, error: unknown): ControlError => {
  const code = errorCode(error)
  if (code.startsWith("HPE_")) return otherVersion
  switch (code) {
    case "ENOENT":
      return new ControlError({
        message: `no gateway is running (nothing at ${socket}) — start it, or name its socket with --socket`,
        notRunning: true
      })
    case "ECONNREFUSED":
      return isSocket(socket)
        ? new ControlError({
            message: `no gateway is running (a dead socket at ${socket}) — start it with sallyport up`,
            notRunning: true
          })
        : new ControlError({ message: `${socket} is not a socket — name the gateway's control socket` })
    case "EACCES":
    case "EPERM":
      return new ControlError({ message: `${socket} may not be opened — run as the gateway's user` })
    case "ECONNRESET":
    case "EPIPE":
      return noAnswer
    default:
      return new ControlError({ message: `the gateway at ${socket} cannot be asked (${code}) — check the path` })
  }
}

const isSocket = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isSocket() ?? true
