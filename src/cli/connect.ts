import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import { readBounded } from "../config/readConfig.ts"
import { parseWireguardConf } from "../config/wireguardConf.ts"
import { Programs } from "./Programs.ts"

/** `sallyport connect FILE.conf`: be a client, with a wg-quick file, until told to stop. */
export const connect = Command.make(
  "connect",
  { file: Argument.String("file").pipe(Argument.withDescription("A WireGuard client file (wg-quick)")) },
  Effect.fnUntraced(function* ({ file }) {
    const conf = yield* Effect.fromResult(parseWireguardConf(yield* readBounded(file), file))
    const programs = yield* Programs
    yield* programs.connect(conf)
  })
).pipe(
  Command.withDescription("Connect this host to a gateway as a client, until told to stop; needs root or CAP_NET_ADMIN")
)
