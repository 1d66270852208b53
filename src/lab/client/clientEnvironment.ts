/** The environment of `sallyport connect --portal`: a client's variables. */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { optional } from "../../config/environment.ts"
import { ConfigError } from "../../config/problem.ts"
import { readApiUrl } from "../../control/firezone/handshake.ts"

export interface PortalClientConfig {
  readonly token: Redacted.Redacted
  readonly apiUrl: string
  /** `null`: the host's name stands for both. */
  readonly firezoneId: string | null
  readonly name: string | null
  /** Which clients this one is like (docs/portal-protocol.md, "Generations"). */
  readonly generation: "A" | "B" | "C"
  /** Whether the Internet resource is made use of. */
  readonly internet: boolean
}

const wrong = (message: string) => new ConfigError({ message })

/** Every failure is one line with its fix. */
export const readClientEnvironment = Effect.fn("Config.readClientEnvironment")(function* (): Effect.fn.Return<
  PortalClientConfig,
  ConfigError
> {
  const token = yield* optional("FIREZONE_TOKEN")
  if (token === null) return yield* wrong("FIREZONE_TOKEN is not set — put the client's token of the portal into it")
  if (!/^[!-~\s]{1,4096}$/.test(token)) return yield* wrong("FIREZONE_TOKEN: it is no token — copy it again")
  const apiUrl = readApiUrl((yield* optional("FIREZONE_API_URL")) ?? "wss://api.firezone.dev")
  if (Result.isFailure(apiUrl)) {
    return yield* wrong(`FIREZONE_API_URL: ${apiUrl.failure} — write for example ws://127.0.0.1:8081`)
  }
  const firezoneId = yield* optional("FIREZONE_ID")
  if (firezoneId !== null && !/^[!-~]{1,256}$/.test(firezoneId)) {
    return yield* wrong("FIREZONE_ID: it is no id — use letters, digits and dashes")
  }
  const name = yield* optional("FIREZONE_NAME")
  const generation = (yield* optional("SALLYPORT_PORTAL_GENERATION")) ?? "B"
  if (generation !== "A" && generation !== "B" && generation !== "C") {
    return yield* wrong("SALLYPORT_PORTAL_GENERATION: there are A, B and C — write one of them or leave it out")
  }
  const activate = (yield* optional("FIREZONE_ACTIVATE_INTERNET_RESOURCE")) ?? "false"
  if (activate !== "true" && activate !== "false") {
    return yield* wrong("FIREZONE_ACTIVATE_INTERNET_RESOURCE: write true or false, or leave it out")
  }
  const internet = activate === "true"
  return { token: Redacted.make(token), apiUrl: apiUrl.success, firezoneId, name, generation, internet }
})
