import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { defaultControlSocket } from "../config/GatewayConfig.ts"
import { load } from "./load.ts"
import { showStatus } from "./showStatus.ts"
import { switchFlag } from "./switchFlag.ts"

/** Of the commands that ask a running gateway. */
const socketFlags = {
  socket: Flag.String("socket").pipe(
    Flag.withMetavar("<path>"),
    Flag.withDescription(`Control socket of the gateway (default: the configuration's, else ${defaultControlSocket})`),
    Flag.optional
  ),
  config: Flag.String("config").pipe(
    Flag.withAlias("c"),
    Flag.withMetavar("<file>"),
    Flag.withDescription("Take the control socket from this configuration (default: SALLYPORT_CONFIG)"),
    Flag.withFallbackConfig(Config.String("SALLYPORT_CONFIG")),
    Flag.optional
  )
}

/** The path of the control socket that those flags mean. */
const socketOf = Effect.fnUntraced(function* ({
  config,
  socket
}: {
  readonly config: Option.Option<string>
  readonly socket: Option.Option<string>
}) {
  if (Option.isSome(socket)) return socket.value
  if (Option.isNone(config)) return defaultControlSocket
  const { readConfig } = yield* load(() => import("../config/readConfig.ts"))
  return (yield* readConfig(config.value)).controlSocket
})

/** `sallyport status`: what the running gateway knows. Its plainest forms never come here: `plainStatus.ts`. */
export const status = Command.make(
  "status",
  {
    target: Argument.String("client or name").pipe(
      Argument.withDescription("All about this client, or this name"),
      Argument.optional
    ),
    clients: switchFlag("clients", "All clients, the connected ones first"),
    names: switchFlag("names", "All names, those with something wrong first, and the DNS servers"),
    counters: switchFlag("counters", "All counters that are not zero"),
    watch: switchFlag("watch", "Look again every two seconds, until Ctrl-C"),
    check: switchFlag("check", "One line for a monitor, and exit code 1 when something is wrong"),
    json: switchFlag("json", "Print the whole report as JSON"),
    ...socketFlags
  },
  Effect.fnUntraced(function* ({ target, clients, names, counters, watch, check, json, ...where }) {
    yield* showStatus({
      as: json ? "json" : check ? "check" : "text",
      watch,
      view: { clients, names, counters, target: Option.getOrNull(target) },
      socket: yield* socketOf(where)
    })
  })
).pipe(Command.withDescription("Show what is wrong with the running gateway, its clients and names"))
