import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { defaultControlSocket } from "../config/GatewayConfig.ts"
import { readConfig } from "../config/readConfig.ts"
import { renderStatus } from "./renderStatus.ts"
import { StatusClient } from "./StatusClient.ts"

/** `sallyport status`: what the running gateway knows. */
export const status = Command.make(
  "status",
  {
    json: Flag.Boolean("json").pipe(Flag.withDescription("Print the whole report as JSON"), Flag.withDefault(false)),
    socket: Flag.String("socket").pipe(
      Flag.withMetavar("<path>"),
      Flag.withDescription(
        `Control socket of the gateway (default: the configuration's, else ${defaultControlSocket})`
      ),
      Flag.optional
    ),
    config: Flag.String("config").pipe(
      Flag.withAlias("c"),
      Flag.withMetavar("<file>"),
      Flag.withDescription("Take the control socket from this configuration (default: SALLYPORT_CONFIG)"),
      Flag.withFallbackConfig(Config.String("SALLYPORT_CONFIG")),
      Flag.optional
    )
  },
  Effect.fnUntraced(function* ({ json, socket, config }) {
    const client = yield* StatusClient
    const path = Option.isSome(socket)
      ? socket.value
      : Option.isSome(config)
        ? (yield* readConfig(config.value)).controlSocket
        : defaultControlSocket
    const report = yield* client.fetch(path)
    yield* Console.log(json ? JSON.stringify(report) : renderStatus(report))
  })
).pipe(Command.withDescription("Show clients, names, authorizations and counters of the running gateway"))
