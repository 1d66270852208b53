import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import { rightsIn } from "../config/GatewayConfig.ts"
import { isOpen } from "../model/Authorization.ts"
import { formatPortFilters } from "../model/PortFilter.ts"
import { clientOf } from "./clientOf.ts"
import { configFlag } from "./configFlag.ts"
import { load } from "./load.ts"
import { table } from "./textTable.ts"

/** `sallyport client show NAME`: what the file says of one client. */
export const clientShow = Command.make(
  "show",
  {
    name: Argument.String("name").pipe(Argument.withDescription("A client of the configuration")),
    config: configFlag
  },
  Effect.fnUntraced(function* ({ config: file, name }) {
    const { readConfig } = yield* load(() => import("../config/readConfig.ts"))
    const config = yield* readConfig(file)
    const client = yield* clientOf(config, name, file)
    const now = yield* Clock.currentTimeMillis
    yield* Console.log(
      [
        `${client.id}: ${client.tunnel4} ${client.tunnel6}`,
        `public key ${client.publicKey}${client.presharedKey === null ? "" : ", and a preshared key"}`,
        `groups ${client.groups.join(" ") || "none"}`
      ].join("\n")
    )
    const rows = rightsIn(config, client.id).map(({ expiresAt, resource }) => [
      resource.id,
      resource.kind === "dns" ? resource.pattern : resource.kind === "cidr" ? resource.network : "the Internet",
      formatPortFilters(resource.filters),
      expiresAt === null
        ? "-"
        : `${DateTime.formatIso(DateTime.makeUnsafe(expiresAt))}${isOpen({ expiresAt }, now) ? "" : " (expired)"}`
    ])
    yield* Console.log(
      rows.length === 0 ? "may reach nothing" : `\n${table(["MAY REACH", "IS", "PORTS", "EXPIRES"], rows)}`
    )
  })
).pipe(Command.withDescription("Show a client of the configuration, and what it may reach"))
