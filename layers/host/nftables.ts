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

/**
 * One table (family `inet`) as the kernel has it, to be compared: without what counts or differs from one making to the
 * next. `null`: there is none.
 */
export const nftTable = (table: string): Effect.Effect<string | null, HostError> =>
  runCommand("nft", ["-j", "-s", "list", "table", "inet", table]).pipe(
    Effect.flatMap((text) =>
      Effect.map(decodeOutput(Schema.fromJsonString(Schema.Unknown), "nft -j list table")(text), lasting)
    ),
    Effect.catch((error) =>
      error._tag === "CommandFailed" && /No such file/i.test(error.output)
        ? Effect.succeed(null)
        : Effect.fail(error._tag === "CommandFailed" ? explain("read the host's firewall")(error) : error)
    )
  )

const passing = new Set(["metainfo", "handle", "packets", "bytes", "used", "expires"])

const lasting = (ruleset: unknown): string =>
  JSON.stringify(ruleset, (key, value: unknown) => (passing.has(key) ? undefined : value))

const Ruleset = Schema.fromJsonString(
  Schema.Struct({ nftables: Schema.Array(Schema.Record(Schema.String, Schema.Unknown)) })
)
