import { assert, describe, it } from "@effect/vitest"
import { clientPlan, clientRemoval, clientRepair, clientTable, type ClientTunnel } from "../../src/host/clientPlan.ts"

const tunnel: ClientTunnel = {
  addresses: ["100.64.0.11/32", "fd00::11/128"],
  networks: ["100.96.0.0/11", "198.51.100.0/24", "fd00::/64"],
  endpoint: "198.51.100.1",
  table: "auto",
  v6: true
}
const own = String(clientTable)
const untouched = { device: {}, routes: { 4: [], 6: [] }, rules: { 4: [], 6: [] } }

/** The host after `lines` as `ip` would show it, for a device that is up with all its addresses. */
const kept = {
  device: {
    flags: ["UP"],
    mtu: 1280,
    addr_info: [
      { local: "100.64.0.11", prefixlen: 32 },
      { local: "fd00::11", prefixlen: 128 }
    ]
  },
  routes: {
    4: [
      { dst: "100.96.0.0/11" },
      { dst: "198.51.100.0/24", table: own },
      { dst: "100.64.0.11", type: "local", table: "local" }
    ],
    6: [{ dst: "fd00::/64" }, { dst: "fe80::/64" }]
  },
  rules: {
    4: [
      { priority: 0, table: "local" },
      { priority: 200, dst: "198.51.100.1", goto: 459 },
      { priority: 201, dst: "198.51.100.0", dstlen: 24, table: "main", suppress_prefixlen: 24 },
      { priority: 202, dst: "198.51.100.0", dstlen: 24, table: own },
      { priority: 459, nop: null },
      { priority: 5210, dst: "192.0.2.0", dstlen: 24, table: "52" },
      { priority: 32766, table: "main" }
    ],
    6: [{ priority: 0, table: "local" }]
  }
}
const nothing = { device: [], rules: { 4: [], 6: [] }, past: [], missing: [] }

describe("a client's host", () => {
  it("routes a network around the endpoint past the endpoint itself, in a table of its own", () => {
    const plan = clientPlan(tunnel)
    assert.deepStrictEqual(plan.routes, [
      { network: "100.96.0.0/11", table: null },
      { network: "198.51.100.0/24", table: clientTable },
      { network: "fd00::/64", table: null }
    ])
    assert.deepStrictEqual(
      plan.rules.map(({ priority, to, action }) => [priority, to, action]),
      [
        [200, "198.51.100.1", "goto 459"],
        [201, "198.51.100.0/24", "lookup main suppress_prefixlength 24"],
        [202, "198.51.100.0/24", `lookup ${clientTable}`],
        [459, null, "nop"]
      ]
    )
  })

  it("routes everything without touching a default route, the longest prefix first", () => {
    const plan = clientPlan({ ...tunnel, networks: ["0.0.0.0/0", "198.51.0.0/16", "::/0", "10.0.0.0/8"] })
    assert.deepStrictEqual(
      plan.routes.filter(({ table }) => table === null).map(({ network }) => network),
      ["10.0.0.0/8"]
    )
    assert.deepStrictEqual(
      plan.rules.map(({ family, to, action }) => `${family} ${to} ${action}`),
      [
        "4 198.51.100.1 goto 459",
        "4 198.51.0.0/16 lookup main suppress_prefixlength 16",
        `4 198.51.0.0/16 lookup ${clientTable}`,
        "4 null lookup main suppress_prefixlength 0",
        `4 null lookup ${clientTable}`,
        "4 null nop",
        "6 null lookup main suppress_prefixlength 0",
        `6 null lookup ${clientTable}`,
        "6 null nop"
      ]
    )
  })

  it("has nothing of IPv6 where there is none, and no routes where the file wants none", () => {
    const four = clientPlan({ ...tunnel, v6: false })
    assert.deepStrictEqual([four.addresses, four.routes.length], [["100.64.0.11/32"], 2])
    assert.deepStrictEqual(clientPlan({ ...tunnel, table: "off" }).routes, [])
    assert.isTrue(clientPlan({ ...tunnel, table: 7 }).routes.every(({ table }) => table === 7))
  })

  it("is set up from nothing, and then left alone", () => {
    const plan = clientPlan(tunnel)
    const first = clientRepair("c0", 1280, plan, untouched)
    assert.deepStrictEqual(first.device, [
      "link set dev c0 mtu 1280 up",
      "address add 100.64.0.11/32 dev c0",
      "address add fd00::11/128 dev c0 nodad",
      "route add 100.96.0.0/11 dev c0",
      `route add 198.51.100.0/24 dev c0 table ${clientTable}`,
      "route add fd00::/64 dev c0"
    ])
    assert.strictEqual(first.rules[4].length, 4)
    assert.deepStrictEqual(clientRepair("c0", 1280, plan, kept), nothing)
  })

  it("has a network once that the file has twice, and none that is in an address alone", () => {
    const plan = clientPlan({
      ...tunnel,
      addresses: ["10.9.0.11/24", "fd00::11/64"],
      networks: ["10.0.0.0/8", "10.0.0.0/8"]
    })
    assert.deepStrictEqual(clientRepair("c0", 1280, plan, untouched).device, [
      "link set dev c0 mtu 1280 up",
      "address add 10.9.0.11/24 dev c0 noprefixroute",
      "address add fd00::11/64 dev c0 nodad noprefixroute",
      "route add 10.0.0.0/8 dev c0"
    ])
  })

  it("gets back what somebody took away, and that is named", () => {
    const repair = clientRepair("c0", 1280, clientPlan(tunnel), {
      device: { ...kept.device, addr_info: [] },
      routes: { ...kept.routes, 4: [] },
      rules: { ...kept.rules, 4: kept.rules[4].slice(2) }
    })
    assert.deepStrictEqual(repair.missing, [
      "address 100.64.0.11/32",
      "address fd00::11/128",
      "route 100.96.0.0/11",
      "route 198.51.100.0/24",
      "rule pref 200 to 198.51.100.1 goto 459"
    ])
  })

  it("follows an endpoint that moves: the new way is there before the old one goes", () => {
    const inside = clientRepair("c0", 1280, clientPlan({ ...tunnel, endpoint: "198.51.100.7" }), kept)
    const outside = clientRepair("c0", 1280, clientPlan({ ...tunnel, endpoint: "203.0.113.7" }), kept)
    assert.deepStrictEqual(inside.rules[4], [
      "rule add pref 200 to 198.51.100.7 goto 459",
      "rule del pref 200 to 198.51.100.1 goto 459"
    ])
    assert.deepStrictEqual(outside.device, ["route add 198.51.100.0/24 dev c0"])
    assert.deepStrictEqual(outside.past, [`route del 198.51.100.0/24 dev c0 table ${own}`])
    assert.isTrue(outside.rules[4].every((line) => line.startsWith("rule del pref ")))
  })

  it("takes away at the end what is its own, and no rule of anybody else", () => {
    assert.deepStrictEqual(clientRemoval(kept.rules[4]), [
      "rule del pref 200 to 198.51.100.1 goto 459",
      "rule del pref 201 to 198.51.100.0/24 lookup main suppress_prefixlength 24",
      `rule del pref 202 to 198.51.100.0/24 lookup ${clientTable}`,
      "rule del pref 459 nop"
    ])
  })
})
