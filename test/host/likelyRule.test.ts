import { assert, describe, it } from "@effect/vitest"
import { type KnownPacket, likelyRule } from "../../src/host/likelyRule.ts"

const packet: KnownPacket = {
  hook: "forward",
  family: "ipv4",
  protocol: "tcp",
  state: "new",
  iifname: "sally0",
  oifname: "lan0",
  saddr: "100.64.0.2"
}

const table = { family: "inet", table: "fw" }
const base = (name: string, policy: string, rest: object = {}) => ({
  chain: { ...table, name, type: "filter", hook: "forward", prio: 0, policy, ...rest }
})
let handles = 0
const rule = (chain: string, ...expr: ReadonlyArray<object>) => ({ rule: { ...table, chain, handle: ++handles, expr } })
const match = (left: object, right: unknown, op = "==") => ({ match: { op, left, right } })
const meta = (key: string) => ({ meta: { key } })
const ip = (field: string) => ({ payload: { protocol: "ip", field } })
const state = (...states: ReadonlyArray<string>) => match({ ct: { key: "state" } }, states, "in")
const [accept, drop, reject] = [
  { accept: null },
  { drop: null },
  { reject: { type: "icmpx", expr: "admin-prohibited" } }
]

const find = (entries: ReadonlyArray<object>, known: Partial<KnownPacket> = {}) => {
  const found = likelyRule(entries as ReadonlyArray<Record<string, unknown>>, { ...packet, ...known }, ["own"])
  return found === null
    ? null
    : `${found.chain.name} ${found.handle === null ? "policy" : "rule"}${found.sure ? "" : "?"}`
}

describe("likelyRule", () => {
  it("finds a policy, a last rule that rejects, and nobody on a host that accepts", () => {
    assert.strictEqual(find([base("FORWARD", "drop")]), "FORWARD policy")
    assert.strictEqual(find([base("FORWARD", "accept"), rule("FORWARD", reject)]), "FORWARD rule")
    assert.isNull(find([base("FORWARD", "accept"), rule("FORWARD", match(meta("iifname"), "eth0"), drop)]))
    assert.isNull(find([base("FORWARD", "drop"), rule("FORWARD", match(meta("iifname"), "sally0"), accept)]))
  })

  it("knows firewalld's shape: established go through, what is left is rejected", () => {
    const chain = [
      base("filter_FORWARD", "accept"),
      rule("filter_FORWARD", state("established", "related"), accept),
      rule("filter_FORWARD", match(meta("iifname"), "lo"), accept),
      rule("filter_FORWARD", state("invalid"), drop),
      rule("filter_FORWARD", reject)
    ]
    assert.strictEqual(find(chain), "filter_FORWARD rule")
    assert.isNull(find(chain, { state: "established" }))
  })

  it("goes into chains of others and comes back from them", () => {
    const chain = (last: object) => [
      base("INPUT", "accept", { hook: "input" }),
      rule("INPUT", { jump: { target: "ts-input" } }),
      rule(
        "ts-input",
        match(meta("iifname"), "tailscale0", "!="),
        match(ip("saddr"), { prefix: { addr: "100.64.0.0", len: 10 } }),
        last
      )
    ]
    assert.strictEqual(find(chain(drop), { hook: "input" }), "ts-input rule")
    assert.isNull(find(chain({ return: null }), { hook: "input" }))
    assert.isNull(find(chain(drop), { hook: "input", saddr: "10.0.0.1" }))
  })

  it("does not come back from a chain that it was sent to for good", () => {
    const sent = (how: "jump" | "goto") => [
      base("F", "accept"),
      rule("F", { [how]: { target: "G" } }),
      rule("F", drop),
      rule("G", { counter: null })
    ]
    assert.strictEqual(find(sent("jump")), "F rule")
    assert.isNull(find(sent("goto")))
  })

  it("knows devices by the beginning of their names", () => {
    const only = (name: string) => [base("F", "drop"), rule("F", match(meta("iifname"), name), accept)]
    assert.isNull(find(only("sally*")))
    assert.strictEqual(find(only("wg*")), "F policy")
  })

  it("looks at chains in the order of their priorities, and passes over its own table", () => {
    const late = { chain: { family: "ip", table: "late", name: "late", hook: "forward", prio: 10, policy: "drop" } }
    const own = { chain: { family: "inet", table: "own", name: "own", hook: "forward", prio: -9, policy: "drop" } }
    assert.strictEqual(find([late, own, base("early", "drop")]), "early policy")
    assert.strictEqual(find([late, own, base("early", "accept")]), "late policy")
    assert.isNull(find([late], { family: "ipv6" }))
  })

  it("is not sure where a rule asks what is not known", () => {
    const marked = match({ meta: { key: "mark" } }, 7)
    assert.strictEqual(find([base("FORWARD", "accept"), rule("FORWARD", marked, drop)]), "FORWARD rule?")
    assert.strictEqual(find([base("FORWARD", "drop"), rule("FORWARD", marked, accept)]), "FORWARD policy?")
    assert.strictEqual(find([base("FORWARD", "accept"), rule("FORWARD", { xt: null }, drop)]), "FORWARD rule?")
    assert.strictEqual(
      find([base("FORWARD", "accept"), rule("FORWARD", { limit: { rate: 1 } }, drop)]),
      "FORWARD rule?"
    )
  })

  it("understands verdict maps, sets, ranges and negations", () => {
    const states = {
      vmap: {
        key: { ct: { key: "state" } },
        data: {
          set: [
            ["established", accept],
            ["new", drop]
          ]
        }
      }
    }
    assert.strictEqual(find([base("F", "accept"), rule("F", states)]), "F rule")
    const ports = (right: unknown) => [
      base("F", "accept"),
      rule("F", match({ payload: { protocol: "tcp", field: "dport" } }, right), drop)
    ]
    assert.strictEqual(find(ports({ set: [22, { range: [50, 60] }] }), { dport: 53 }), "F rule")
    assert.isNull(find(ports({ set: [22] }), { dport: 53 }))
    assert.strictEqual(find(ports("@ports"), { dport: 53 }), "F rule?")
    assert.isNull(find(ports(53), { protocol: "udp", dport: 53 }))
    assert.isNull(
      find([base("F", "accept"), rule("F", match({ payload: { protocol: "ip6", field: "saddr" } }, "::1", "!="), drop)])
    )
  })

  it("does not run round in chains that call each other", () => {
    assert.isNull(
      find([base("F", "accept"), rule("F", { jump: { target: "G" } }), rule("G", { jump: { target: "F" } })])
    )
  })
})
