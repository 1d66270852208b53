import { assert, describe, it } from "@effect/vitest"
import { isRead, judgeOverlaps, type Route } from "../../src/host/overlap.ts"

const own = ["100.64.0.1", "fd00:2021:1111::1"]
const judge = (fixed: boolean, what: "tunnel" | "proxy", network: string, ...routes: ReadonlyArray<Route>) =>
  judgeOverlaps([{ what, network, routes }], "sally0", fixed, own)
const movable = (...routes: ReadonlyArray<Route>) => judge(false, "tunnel", "100.64.0.0/11", ...routes).conflict
const fixed = (...routes: ReadonlyArray<Route>) => judge(true, "tunnel", "100.64.0.0/11", ...routes)
const networks = ({ foreign }: ReturnType<typeof judgeOverlaps>) => foreign.map(({ network }) => network)

describe("ranges that may be moved", () => {
  it("are refused with both sides and the way out of it", () => {
    assert.match(
      movable({ dst: "100.64.0.0/10", gateway: "192.0.2.1", dev: "eth0" })!,
      /tunnel network 100\.64\.0\.0\/11 overlaps the host's route 100\.64\.0\.0\/10 via 192\.0\.2\.1 dev eth0: .*"network:"/
    )
    assert.match(
      movable({ dst: "100.65.0.7", type: "local", dev: "tailscale0", table: "local" })!,
      /overlaps the host's own address 100\.65\.0\.7 \(tailscale0\)/
    )
  })

  for (const [what, route] of [
    ["a default route", { dst: "default", gateway: "192.0.2.1", dev: "eth0" }],
    ["one half of a default route", { dst: "0.0.0.0/1", dev: "tun9" }],
    ["a route of the gateway's own device", { dst: "100.64.0.0/11", dev: "sally0" }],
    ["a black hole", { dst: "100.64.0.0/10", type: "blackhole" }],
    ["a broadcast route", { dst: "100.64.0.255", type: "broadcast", dev: "eth0" }]
  ] as const) {
    it(`are not disturbed by ${what}`, () => {
      assert.isNull(movable(route))
      assert.deepStrictEqual(fixed(route), { conflict: null, foreign: [] })
    })
  }

  it("are judged by the one that matters among those that do not", () => {
    assert.include(
      movable({ dst: "default", dev: "eth0" }, { dst: "100.80.0.0/16", dev: "eth1" })!,
      "100.80.0.0/16 dev eth1"
    )
  })
})

describe("a route counts", () => {
  const route = { dst: "100.65.0.0/16", dev: "eth1" }
  const rules = [{ table: "local" }, { table: "77" }, { table: "main" }]

  it("in a table that a rule reads, the main one included", () => {
    assert.isTrue(isRead(route, rules))
    assert.isTrue(isRead({ ...route, table: "77" }, rules))
    assert.isFalse(isRead({ ...route, table: "78" }, rules))
  })

  it("in any table where those of VRF devices are read", () => {
    assert.isTrue(isRead({ ...route, table: "78" }, [...rules, { l3mdev: null }]))
  })
})

describe("ranges that are given", () => {
  it("leave a carrier's uplink to the host: its network, of which its address is a part", () => {
    const found = fixed(
      { dst: "100.70.1.0/24", dev: "wan0" },
      { dst: "100.70.1.2", type: "local", dev: "wan0", table: "local" }
    )
    assert.isNull(found.conflict)
    assert.deepStrictEqual(found.foreign, [
      { network: "100.70.1.0/24", who: "the host's route 100.70.1.0/24 dev wan0" }
    ])
  })

  it("leave to the host what another overlay has in a table of its own, and in the proxies' range", () => {
    const found = judge(true, "proxy", "100.96.0.0/11", { dst: "100.100.100.100", dev: "tailscale0", table: "52" })
    assert.isNull(found.conflict)
    assert.deepStrictEqual(found.foreign, [
      { network: "100.100.100.100/32", who: "the host's route 100.100.100.100 dev tailscale0 table 52" }
    ])
  })

  it("leave the proxies' range to a wider route, clipped: no packet to a proxy is ever routed by the host", () => {
    const found = judge(true, "proxy", "100.96.0.0/11", { dst: "100.64.0.0/10", dev: "eth0" })
    assert.isNull(found.conflict)
    assert.deepStrictEqual(networks(found), ["100.96.0.0/11"])
  })

  for (const dst of ["100.64.0.0/10", "100.64.0.0/11"]) {
    it(`are refused beside a route for all of the tunnel (${dst}), with an advice that can be followed`, () => {
      const { conflict, foreign } = fixed({ dst, dev: "eth0" })
      // One that comes later takes nothing: translation and clients go on.
      assert.deepStrictEqual(foreign, [])
      assert.match(conflict!, /covers the whole tunnel network 100\.64\.0\.0\/11.*narrow that route.*namespace/)
      assert.notInclude(conflict!, "network:")
    })
  }

  it("are refused when the gateway's own tunnel address is the host's on another device", () => {
    const { conflict } = fixed({ dst: "100.64.0.1", type: "local", dev: "eth0", table: "local" })
    assert.match(conflict!, /tunnel address 100\.64\.0\.1 is taken by the host's own address 100\.64\.0\.1 \(eth0\)/)
  })

  it("hold in both families", () => {
    const found = judge(true, "tunnel", "fd00:2021:1111::/107", { dst: "fd00:2021:1111::1:0/112", dev: "eth0" })
    assert.deepStrictEqual(networks(found), ["fd00:2021:1111::1:0/112"])
    assert.isNotNull(judge(true, "tunnel", "fd00:2021:1111::/107", { dst: "fd00::/8", dev: "eth0" }).conflict)
    assert.isNull(judge(true, "tunnel", "fd00:2021:1111::/107", { dst: "::/1", dev: "eth0" }).conflict)
  })
})
