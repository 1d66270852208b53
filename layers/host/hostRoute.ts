/** Which way the host sends a client's packets, asked of the kernel by `ip route get`. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { HostRoute } from "../../src/host/HostRoute.ts"
import { type CommandFailed, runCommand } from "./hostCommand.ts"

const timeoutMs = 2_000

const Routes = Schema.fromJsonString(
  Schema.Array(
    Schema.Struct({
      type: Schema.optionalKey(Schema.String),
      dev: Schema.optionalKey(Schema.String),
      gateway: Schema.optionalKey(Schema.String)
    })
  )
)

/** As the kernel would route a packet that came out of the tunnel's device from this tunnel address: rules and marks count. */
export const routeTo = (device: string, address: string, from: string): Effect.Effect<HostRoute> =>
  runCommand("ip", ["-j", "route", "get", address, "from", from, "iif", device], { timeoutMs }).pipe(
    Effect.flatMap(Schema.decodeEffect(Routes)),
    Effect.match({
      onSuccess: ([route]): HostRoute => {
        if (route?.dev === undefined) return { _tag: "Unknown" }
        if (route.dev === device) return { _tag: "None", why: `its route leads back into the tunnel (${device})` }
        return { _tag: "Leads", device: route.dev, via: route.gateway ?? null }
      },
      onFailure: (error): HostRoute => (error._tag === "CommandFailed" ? unroutable(error) : { _tag: "Unknown" })
    })
  )

const noRoute = /^RTNETLINK answers: (.*unreachable|No route.*|.*not permitted|Permission denied|Invalid .*)$/i

/** `RTNETLINK answers: Network is unreachable` */
const unroutable = ({ kind, output }: CommandFailed): HostRoute => {
  const why = noRoute.exec(output)?.[1]
  if (kind !== "failed" || why === undefined) return { _tag: "Unknown" }
  return { _tag: "None", why: why === "Invalid argument" ? `${why}, as of a blackhole route` : why }
}
