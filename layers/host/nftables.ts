/** nftables by `nft`: scripts in, rulesets out. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { HostError } from "../../src/host/HostNetwork.ts"
import { runCommand } from "./hostCommand.ts"
import { decodeOutput, explain } from "./hostErrors.ts"

/** Runs a script, as one transaction. */
export const nft = (script: string): Effect.Effect<string, HostError> =>
  runCommand("nft", ["-f", "-"], { input: script }).pipe(Effect.mapError(explain("install the firewall table")))

export const nftList = (...what: ReadonlyArray<string>) =>
  runCommand("nft", ["-j", "list", ...what]).pipe(
    Effect.mapError(explain("read the host's firewall")),
    Effect.flatMap(decodeOutput(Ruleset, `nft -j list ${what.join(" ")}`)),
    Effect.map((ruleset) => ruleset.nftables)
  )

const Ruleset = Schema.fromJsonString(
  Schema.Struct({ nftables: Schema.Array(Schema.Record(Schema.String, Schema.Unknown)) })
)
