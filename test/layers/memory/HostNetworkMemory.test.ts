import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { TestClock } from "effect/testing"
import * as Memory from "../../../layers/memory/HostNetworkMemory.ts"
import { HostNetwork, type HostPlan } from "../../../src/host/HostNetwork.ts"

const plan: HostPlan = {
  device: "sally0",
  mtu: 1280,
  gateway4: "100.64.0.1",
  gateway6: "fd00:2021:1111::1",
  tunnelNetworks: ["100.64.0.0/11"],
  proxyNetworks: [],
  listenPort: 51820,
  dnsPort: 53,
  firewall: "nftables",
  masquerade: true,
  fixedRanges: false,
  keepPorts: false,
  clientsCallFirst: true,
  trackUdp: true
}

describe("a simulated host", () => {
  it.effect("has the gateway's addresses while it is configured", () => {
    const host = Memory.make(["192.0.2.1"])
    return Effect.gen(function* () {
      const network = yield* HostNetwork
      const during = yield* Effect.scoped(Effect.andThen(network.configure(plan), network.ownAddresses))

      assert.deepStrictEqual(during, ["192.0.2.1", "100.64.0.1", "fd00:2021:1111::1"])
      assert.deepStrictEqual(yield* network.ownAddresses, ["192.0.2.1"])
      assert.deepStrictEqual(host.plans, [])
    }).pipe(Effect.provide(host.layer))
  })

  it.effect("tells of new addresses, also of those that came before anyone asked", () => {
    const host = Memory.make()
    return Effect.gen(function* () {
      const network = yield* HostNetwork
      const waiting = yield* Effect.forkChild(network.changed)
      yield* TestClock.adjust("1 hour")
      assert.isUndefined(waiting.pollUnsafe())

      host.setAddresses(["192.0.2.9"])
      yield* Fiber.join(waiting)

      assert.deepStrictEqual(yield* network.ownAddresses, ["192.0.2.9"])
      host.setAddresses([])
      yield* network.changed
    }).pipe(Effect.provide(host.layer))
  })
})
