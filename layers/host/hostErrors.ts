/** What helper programs (`ip`, `nft`) said, as one line for the operator: what failed, why, and the fix. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { HostError } from "../../src/host/HostNetwork.ts"
import type { CommandFailed } from "./hostCommand.ts"

/** Reads a program's JSON; `source`: the command line. */
export const decodeOutput =
  <A>(schema: Schema.Codec<A, string>, source: string) =>
  (text: string): Effect.Effect<A, HostError> =>
    Schema.decodeEffect(schema)(text.trim() === "" ? "[]" : text).pipe(
      Effect.mapError(
        () => new HostError({ message: `cannot understand the output of "${source}": is it iproute2 and nftables?` })
      )
    )

export const explain = (doing: string) => (failure: CommandFailed) =>
  new HostError({ message: `cannot ${doing}: ${causeOf(failure)}` })

const causeOf = ({ command, kind, output }: CommandFailed): string => {
  if (kind === "missing") {
    const packaged = command === "nft" ? 'nftables" (or set "firewall: off")' : 'iproute2"'
    return `"${command}" is not installed; run "apt install ${packaged}`
  }
  if (kind === "timeout") return `"${command}" did not finish within 10 s`
  if (/not permitted|permission denied/i.test(output)) {
    return 'not permitted; run as root or grant CAP_NET_ADMIN (systemd: "AmbientCapabilities=CAP_NET_ADMIN")'
  }
  if (command === "nft" && /No such file|not supported/i.test(output)) {
    return `the kernel lacks a part of nftables (${output}); load its modules or set "firewall: off"`
  }
  return `${command}: ${output}`
}
