import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { HostPlan } from "../../src/host/HostNetwork.ts"
import { nftList } from "./nftables.ts"

/** Chains of others that drop by default and nowhere mention the gateway's device (or its port). */
export const foreignFirewall = Effect.fnUntraced(function* (plan: HostPlan, ownTable: string) {
  const entries = yield* nftList("ruleset")
  const warnings: Array<string> = []
  for (const entry of entries) {
    const chain = Schema.decodeUnknownOption(Chain)(entry["chain"])
    if (chain._tag === "None" || chain.value.table === ownTable) continue
    const { family, hook, name, table } = chain.value
    const where = `${family} ${table} ${name}`
    const rules = JSON.stringify(
      entries.filter((e) => {
        const rule = e["rule"] as { readonly family?: string; readonly table?: string } | undefined
        return rule?.family === family && rule.table === table
      })
    )
    if (hook === "forward" && !rules.includes(`"${plan.device}"`)) {
      warnings.push(
        `the firewall chain "${where}" drops forwarded packets unless a rule accepts them: run "nft insert rule ${where} iifname ${plan.device} accept" and "nft insert rule ${where} oifname ${plan.device} ct state established,related accept"`
      )
    }
    if (hook === "input" && !rules.includes(`${plan.listenPort}`)) {
      warnings.push(
        `the firewall chain "${where}" drops incoming packets unless a rule accepts them: run "nft insert rule ${where} udp dport ${plan.listenPort} accept" and "nft insert rule ${where} iifname ${plan.device} accept"`
      )
    }
  }
  return warnings
})

const Chain = Schema.Struct({
  family: Schema.String,
  table: Schema.String,
  name: Schema.String,
  hook: Schema.Literals(["forward", "input"]),
  policy: Schema.Literal("drop")
})
