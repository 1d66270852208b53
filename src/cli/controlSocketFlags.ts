import * as Flag from "effect/cli/Flag"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import { defaultConfigPath, defaultControlSocket } from "../config/defaultPaths.ts"
import { ControlClient } from "./ControlClient.ts"
import { load } from "./load.ts"

/** Of the commands that ask a running gateway: where it is asked. */
export const controlSocketFlags = {
  socket: Flag.String("socket").pipe(
    Flag.withMetavar("<path>"),
    Flag.withDescription(`Control socket of the gateway (default: the configuration's, else ${defaultControlSocket})`),
    Flag.optional
  ),
  config: Flag.String("config").pipe(
    Flag.withAlias("c"),
    Flag.withMetavar("<file>"),
    Flag.withDescription(
      `Take the control socket from this configuration (default: SALLYPORT_CONFIG, else ${defaultConfigPath})`
    ),
    Flag.withFallbackConfig(Config.String("SALLYPORT_CONFIG")),
    Flag.optional
  )
}

/** The path of the control socket that those flags mean. The default file is read where nobody listens at the default path. */
export const controlSocketOf = Effect.fnUntraced(function* ({
  config,
  socket
}: {
  readonly config: Option.Option<string>
  readonly socket: Option.Option<string>
}) {
  if (Option.isSome(socket)) return socket.value
  const fs = yield* FileSystem.FileSystem
  const { isListening } = yield* ControlClient
  // Who may use the socket need not be able to read the file.
  const isReadable = Effect.isSuccess(fs.access(defaultConfigPath, { readable: true }))
  if (Option.isNone(config) && ((yield* isListening(defaultControlSocket)) || !(yield* isReadable))) {
    return defaultControlSocket
  }
  const { readConfig } = yield* load(() => import("../config/readConfig.ts"))
  return (yield* readConfig(Option.getOrElse(config, () => defaultConfigPath))).controlSocket
})
