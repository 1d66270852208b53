/**
 * One request to a gateway's control socket, without Effect: what has to be quick must not load it. Failures are for people.
 */
import { statSync } from "node:fs"
import * as Http from "node:http"
import type { ControlError, ControlRequest } from "../../src/cli/ControlClient.ts"
import { otherVersionMessage } from "../../src/cli/otherVersion.ts"
import { errorCode } from "./errorCode.ts"

/** A gateway that does not answer is given up. */
export const timeoutMs = 5_000
export const maxLineLength = 1 << 20

export type ControlFailure = Pick<ControlError, "message" | "notRunning">

export interface Reader {
  /** `false`: enough. */
  readonly chunk: (text: string) => boolean
  readonly end: () => void
  readonly fail: (failure: ControlFailure) => void
}

/** Yields what gives the request up. */
export const exchange = (
  socket: string,
  { body, method, path }: Pick<ControlRequest, "body" | "method" | "path">,
  reader: Reader
): (() => void) => {
  const request = Http.request({ socketPath: socket, method, path, agent: false, host: "gateway" }, (response) => {
    response.setEncoding("utf8")
    const status = response.statusCode ?? 0
    let refusal = ""
    response.on("data", (text: string) => {
      if (status !== 200) {
        if (refusal.length < maxLineLength) refusal += text
      } else if (!reader.chunk(text)) {
        request.destroy()
        reader.fail({ message: `what listens at ${socket} is no gateway — check the path` })
      }
    })
    response.once("end", () => (status === 200 ? reader.end() : reader.fail(refused(status, refusal))))
    response.once("aborted", () => reader.fail(noAnswer))
  })
  request.once("error", (error) => reader.fail(cannotAsk(socket, error)))
  request.end(body)
  return () => void request.destroy()
}

const refused = (status: number, text: string): ControlFailure =>
  status === 404
    ? otherVersion
    : { message: messageIn(text) ?? `the gateway failed to answer (${status}) — look at its log` }

const messageIn = (text: string): string | undefined => {
  try {
    const refusal: unknown = JSON.parse(text)
    return typeof refusal === "object" &&
      refusal !== null &&
      "message" in refusal &&
      typeof refusal.message === "string"
      ? refusal.message
      : undefined
  } catch {
    return undefined
  }
}

const otherVersion: ControlFailure = { message: otherVersionMessage }

export const noAnswer: ControlFailure = {
  message: "the gateway gave no answer — it is stopping or busy; try again"
}

export const silent = (socket: string): ControlFailure => ({
  message: `the gateway at ${socket} does not answer — look at its log`
})

const cannotAsk = (socket: string, error: unknown): ControlFailure => {
  const code = errorCode(error)
  if (code.startsWith("HPE_")) return otherVersion
  switch (code) {
    case "ENOENT":
      return {
        message: `no gateway is running (nothing at ${socket}) — start it, or name its socket with --socket`,
        notRunning: true
      }
    case "ECONNREFUSED":
      return isSocket(socket)
        ? {
            message: `no gateway is running (a dead socket at ${socket}) — start it with sallyport up`,
            notRunning: true
          }
        : { message: `${socket} is not a socket — name the gateway's control socket` }
    case "EACCES":
    case "EPERM":
      return { message: `${socket} may not be opened — run as the gateway's user` }
    case "ECONNRESET":
    case "EPIPE":
      return noAnswer
    default:
      return { message: `the gateway at ${socket} cannot be asked (${code}) — check the path` }
  }
}

const isSocket = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isSocket() ?? true
