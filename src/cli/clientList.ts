import * as Command from "effect/cli/Command"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { configFlag } from "./configFlag.ts"
import { fetchStatus } from "./fetchStatus.ts"
import { load } from "./load.ts"
import { keyNames, tellsKeys } from "./statusSections.ts"
import { table } from "./textTable.ts"

/** `sallyport client list`: who is in the file and, where that differs, which key of the gateway each has. */
export const clientList = Command.make(
  "list",
  { config: configFlag },
  Effect.fnUntraced(function* ({ config: file }) {
    const { readConfig } = yield* load(() => import("../config/readConfig.ts"))
    const { clients, controlSocket } = yield* readConfig(file)
    const report = yield* Effect.option(fetchStatus(controlSocket))
    const withKey = Option.isSome(report) && tellsKeys(report.value)
    const keyOf = (id: string): ReadonlyArray<string> => {
      if (!withKey) return []
      const row = report.value.clients.find(({ name }) => name === id)
      return [keyNames[row?.gatewayKey ?? "never"]]
    }
    const rows = clients.map(({ groups, id, publicKey, tunnel4 }) => [
      id,
      tunnel4,
      groups.join(" ") || "-",
      ...keyOf(id),
      publicKey
    ])
    yield* Console.log(
      rows.length === 0
        ? `${file} has no clients — sallyport client add NAME`
        : table(["CLIENT", "IPV4", "GROUPS", ...(withKey ? ["GATEWAY'S KEY"] : []), "PUBLIC KEY"], rows)
    )
  })
).pipe(Command.withDescription("List the clients of the configuration"))
