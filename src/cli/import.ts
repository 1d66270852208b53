import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { proxyIpsOf, proxyNetworks } from "../control/standalone/proxyPool.ts"
import { configFlag } from "./configFlag.ts"
import { load } from "./load.ts"
import { StateFiles } from "./StateFiles.ts"
import { switchFlag } from "./switchFlag.ts"
import { counted } from "./textTable.ts"

/** `sallyport import FILE --of CONFIG`: proxy IPs that another gateway gave when it was alone stay what they are. */
export const importNames = Command.make(
  "import",
  {
    file: Argument.String("file").pipe(Argument.withDescription("A backup of a gateway that was alone")),
    of: Flag.String("of").pipe(
      Flag.withMetavar("<config>"),
      Flag.withDescription("That gateway's configuration: its clients and its proxy ranges")
    ),
    dryRun: switchFlag("dry-run", "Say what would be taken over; nothing is written"),
    config: configFlag
  },
  Effect.fnUntraced(function* ({ config, dryRun, file, of }) {
    const { readConfig } = yield* load(() => import("../config/readConfig.ts"))
    const files = yield* StateFiles
    const own = yield* readConfig(config)
    const { left, taken, there } = yield* files.importNames(own, yield* readConfig(of), file, { dryRun })
    const names = counted(taken.length, "name")
    const clients = counted(new Set(taken.map(({ client }) => client)).size, "client")
    const are = `${names} of ${clients} ${dryRun ? "would be" : taken.length === 1 ? "is" : "are"} taken over`
    yield* Console.log(`${are} with their proxy IPs; ${there} were here already`)
    if (left.length === 0) return
    yield* Console.log(`${counted(left.length, "name")} will get other ones:`)
    const ranges = proxyNetworks(own.network)
    for (const { mapping, why } of left) {
      const [address = `slot ${mapping.slot}`] = proxyIpsOf(mapping.slot, ranges) ?? []
      yield* Console.log(`  ${mapping.client} ${mapping.domain} ${address}: ${why}`)
    }
  })
).pipe(Command.withDescription("Take over the proxy IPs of a gateway that was alone, while this one is stopped"))
