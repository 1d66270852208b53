import * as Command from "effect/cli/Command"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { configFlag } from "./configFlag.ts"
import { load } from "./load.ts"
import { table } from "./textTable.ts"

/** `sallyport client list`: who is in the file. */
export const clientList = Command.make(
  "list",
  { config: configFlag },
  Effect.fnUntraced(function* ({ config: file }) {
    const { readConfig } = yield* load(() => import("../config/readConfig.ts"))
    const { clients } = yield* readConfig(file)
    const rows = clients.map(({ groups, id, publicKey, tunnel4 }) => [id, tunnel4, groups.join(" ") || "-", publicKey])
    yield* Console.log(
      rows.length === 0
        ? `${file} has no clients — sallyport client add NAME`
        : table(["CLIENT", "IPV4", "GROUPS", "PUBLIC KEY"], rows)
    )
  })
).pipe(Command.withDescription("List the clients of the configuration"))
