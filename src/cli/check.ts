import * as Command from "effect/cli/Command"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { readConfig } from "../config/readConfig.ts"
import { configFlag } from "./configFlag.ts"
import { table } from "./renderStatus.ts"

/** `sallyport check`: says what is wrong with the file, or what it means. Touches nothing. */
export const check = Command.make(
  "check",
  { config: configFlag },
  Effect.fnUntraced(function* ({ config: file }) {
    const config = yield* readConfig(file)
    const { clients, resources, grants } = config
    const rows = clients.map((client) => {
      const granted = grants.filter((grant) => grant.client.id === client.id).map((grant) => grant.resource.id)
      return [client.id, client.tunnel4, client.tunnel6, granted.join(" ") || "nothing"]
    })
    yield* Console.log(`${file} is correct: ${clients.length} clients, ${resources.length} resources`)
    if (rows.length > 0) yield* Console.log(table(["CLIENT", "IPV4", "IPV6", "MAY REACH"], rows))
  })
).pipe(Command.withDescription("Check the configuration without touching anything"))
