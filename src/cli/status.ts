import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { defaultControlSocket } from "../config/GatewayConfig.ts"
import { load } from "./load.ts"
import { showStatus } from "./showStatus.ts"
import { switchFlag } from "./switchFlag.ts"

/** `sallyport status`: what the running gateway knows. Its plainest forms never come here: `plainStatus.ts`. */
export const status = Command.make(
  "status",
  {
    json: switchFlag("json", "Print the whole report as JSON"),
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
    if (Option.isSome(socket)) return yield* showStatus({ json, socket: socket.value })
    if (Option.isNone(config)) return yield* showStatus({ json, socket: defaultControlSocket })
    const { readConfig } = yield* load(() => import("../config/readConfig.ts"))
    yield* showStatus({ json, socket: (yield* readConfig(config.value)).controlSocket })
  })
).pipe(Command.withDescription("Show clients, names, authorizations and counters of the running gateway"))
