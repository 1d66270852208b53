import { assert, describe, it } from "@effect/vitest"
import { ownRules, wantedRules } from "../../src/host/foreignRules.ts"
import type { HostPlan } from "../../src/host/HostNetwork.ts"
import { hostPlan } from "../support/hostPlan.ts"

const plan: HostPlan = { ...hostPlan, firewall: "integrate" }

const chain = (name: string, hook: string, policy: string) => ({
  chain: { family: "inet", table: "fw", name, type: "filter", hook, prio: 0, policy }
})
const rule = (chain: string, expr: ReadonlyArray<object>, comment?: string) => ({
  rule: { family: "inet", table: "fw", chain, handle: 7, expr, ...(comment === undefined ? {} : { comment }) }
})
const established = { match: { op: "in", left: { ct: { key: "state" } }, right: ["established", "related"] } }

const wanted = (entries: ReadonlyArray<Record<string, unknown>>, more: Partial<HostPlan> = {}) =>
  wantedRules(entries, { ...plan, ...more }).map(({ rule }) => rule)

describe("wantedRules", () => {
  it("accepts the gateway's traffic in chains that would take it, with a comment to know them by", () => {
    assert.deepStrictEqual(wanted([chain("FORWARD", "forward", "drop")]), [
      'insert rule inet fw FORWARD iifname "sally0" accept comment "added by sallyport for sally0"',
      'insert rule inet fw FORWARD oifname "sally0" accept comment "added by sallyport for sally0"'
    ])
    assert.deepStrictEqual(wanted([chain("INPUT", "input", "drop"), rule("INPUT", [established, { accept: null }])]), [
      'insert rule inet fw INPUT iifname "sally0" accept comment "added by sallyport for sally0"',
      'insert rule inet fw INPUT udp dport 51820 accept comment "added by sallyport for sally0"'
    ])
  })

  it("opens no port where the gateway opens its paths by itself", () => {
    const stateful = [chain("INPUT", "input", "drop"), rule("INPUT", [established, { accept: null }])]
    assert.deepStrictEqual(wanted(stateful, { clientsCallFirst: false }), [
      'insert rule inet fw INPUT iifname "sally0" accept comment "added by sallyport for sally0"'
    ])
  })

  it("adds no rule a second time that iptables has saved and restored with a comment of its own kind", () => {
    const comment = { xt: { type: "match", name: "comment" } }
    const accept = (key: string) => [
      { match: { op: "==", left: { meta: { key } }, right: "sally0" } },
      comment,
      { accept: null }
    ]
    const restored = [rule("FORWARD", accept("iifname")), rule("FORWARD", accept("oifname"))]
    assert.deepStrictEqual(wanted([chain("FORWARD", "forward", "drop"), ...restored]), [])
  })

  it("leaves a host alone that accepts, and rules whose conditions it does not know", () => {
    assert.deepStrictEqual(wanted([chain("FORWARD", "forward", "accept"), chain("INPUT", "input", "accept")]), [])
    const limited = rule("FORWARD", [{ limit: { rate: 5 } }, { drop: null }])
    assert.deepStrictEqual(wanted([chain("FORWARD", "forward", "accept"), limited]), [])
  })
})

describe("ownRules", () => {
  it("finds the gateway's rules by their comment, whoever's chain they are in", () => {
    const entries = [
      rule("FORWARD", [{ accept: null }], "added by sallyport for sally0"),
      rule("FORWARD", [{ drop: null }], "mine")
    ]
    assert.deepStrictEqual(ownRules(entries), [{ device: "sally0", removal: "delete rule inet fw FORWARD handle 7" }])
  })

  it("leaves an operator's rules alone, whatever he calls them", () => {
    const accept = [{ accept: null }]
    assert.deepStrictEqual(
      ownRules([rule("INPUT", accept, "sallyport wireguard"), rule("INPUT", accept, "sallyport")]),
      []
    )
  })
})
