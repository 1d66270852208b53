import { assert, describe, it } from "@effect/vitest"
import { describeOverlap, type Route } from "../../src/host/overlap.ts"

const check = (...routes: ReadonlyArray<Route>) => describeOverlap("tunnel", "100.64.0.0/11", routes, "sally0")

describe("describeOverlap", () => {
  it("names both sides and the way out of it", () => {
    const route = check({ dst: "100.64.0.0/10", gateway: "192.0.2.1", dev: "eth0" })
    assert.match(
      route!,
      /tunnel network 100\.64\.0\.0\/11 overlaps the host's route 100\.64\.0\.0\/10 via 192\.0\.2\.1 dev eth0: .*"network:"/
    )

    const address = check({ dst: "100.65.0.7", type: "local", dev: "tailscale0", table: "local" })
    assert.match(address!, /overlaps the host's own address 100\.65\.0\.7 \(tailscale0\)/)
  })

  for (const [what, route] of [
    ["a default route", { dst: "default", gateway: "192.0.2.1", dev: "eth0" }],
    ["one half of a default route", { dst: "0.0.0.0/1", dev: "tun9" }],
    ["a route of the gateway's own device", { dst: "100.64.0.0/11", dev: "sally0" }],
    ["a black hole", { dst: "100.64.0.0/10", type: "blackhole" }],
    ["a broadcast route", { dst: "100.64.0.255", type: "broadcast", dev: "eth0" }]
  ] as const) {
    it(`lets ${what} be`, () => {
      assert.isUndefined(check(route))
    })
  }

  it("finds the one that matters among those that do not", () => {
    assert.include(
      check({ dst: "default", dev: "eth0" }, { dst: "100.80.0.0/16", dev: "eth1" })!,
      "100.80.0.0/16 dev eth1"
    )
  })
})
