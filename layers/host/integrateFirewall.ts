/**
 * `firewall: integrate`: accepting rules in the host's own chains, where those would take the gateway's traffic. Each has a
 * comment with the device's name, by which it is found again: put back after somebody has loaded his rules anew, taken away at
 * the end or, after a crash, at the next start.
 */
import * as fs from "node:fs"
import * as Effect from "effect/Effect"
import type { HostPlan } from "../../src/host/HostNetwork.ts"
import { wantedRules, ownRules } from "../../src/host/foreignRules.ts"
import { nft, nftList } from "./nftables.ts"

/** More rounds than chains that a packet meets one after the other. */
const mostRounds = 8

/** Adds what is missing; yields the chains that were added to. */
export const integrate = Effect.fn("HostNetwork.integrate")(function* (plan: HostPlan) {
  const added = new Set<string>()
  if (plan.firewall !== "integrate") return added
  for (let round = 0; round < mostRounds; round++) {
    const rules = wantedRules(yield* nftList("ruleset"), plan)
    if (rules.length === 0) break
    yield* nft(rules.map(({ rule }) => `${rule}\n`).join(""))
    for (const { chain } of rules) added.add(chain)
  }
  return added
})

/** Takes away the rules of this device, and those of devices that are gone. */
export const removeOwnRules = Effect.fnUntraced(function* (device: string) {
  const rules = ownRules(yield* nftList("ruleset")).filter(
    (rule) => rule.device === device || !fs.existsSync(`/sys/class/net/${rule.device}`)
  )
  if (rules.length > 0) yield* nft(rules.map(({ removal }) => `${removal}\n`).join(""))
})
