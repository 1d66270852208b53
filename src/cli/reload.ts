import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { defaultControlSocket } from "../config/GatewayConfig.ts"
import { ReloadReport } from "../control/Registry.ts"
import { askGateway } from "./ControlClient.ts"
import { load } from "./load.ts"
import { switchFlag } from "./switchFlag.ts"

/** A large file takes a while to be read. */
const withinMs = 60_000

/** `sallyport reload`: the running gateway reads its file anew and tells what has changed. */
export const reload = Command.make(
  "reload",
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
  Effect.fnUntraced(function* ({ config, json, socket }) {
    const path = Option.isSome(socket)
      ? socket.value
      : Option.isSome(config)
        ? yield* socketOf(config.value)
        : defaultControlSocket
    const report = yield* askGateway(path, { method: "POST", path: "/v1/reload", withinMs }, ReloadReport)
    yield* Console.log(json ? JSON.stringify(report) : renderReload(report))
  })
).pipe(
  Command.withDescription("Let the running gateway read its file anew; nobody is cut whom the change does not concern")
)

const socketOf = Effect.fnUntraced(function* (file: string) {
  const { readConfig } = yield* load(() => import("../config/readConfig.ts"))
  return (yield* readConfig(file)).controlSocket
})

const renderReload = ({ clients, grants, resolvers, resources, sessions, settings, tookMs, version }: ReloadReport) => {
  const { added, changed, removed } = grants
  const lines = [
    ...changesOf("client", clients),
    ...changesOf("resource", resources),
    ...resolvers.map((name) => `changed  resolver set ${name}: its names are looked up anew`),
    ...settings.map((name) => `changed  ${name}`),
    ...(added + changed + removed > 0 ? [`grants   ${added} added, ${changed} changed, ${removed} removed`] : [])
  ]
  return [
    ...(lines.length > 0 ? lines : ["the file says what it said before"]),
    `sessions ${sessions.cut} cut, ${sessions.untouched} untouched; ${clients.untouched} clients untouched`,
    `policy ${version} is in force after ${tookMs} ms`
  ].join("\n")
}

/** Names of one kind of change that are shown. */
const maxNames = 20

const changesOf = (what: string, of: ReloadReport["clients"]): ReadonlyArray<string> =>
  (["added", "changed", "removed"] as const).flatMap((change) => {
    const names = of[change]
    if (names.length === 0) return []
    const shown = names.slice(0, maxNames).join(", ")
    const more = names.length > maxNames ? ` and ${names.length - maxNames} more` : ""
    return [`${change.padEnd(8)} ${what}${names.length === 1 ? "" : "s"} ${shown}${more}`]
  })
