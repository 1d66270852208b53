import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Layer } from "effect"
import { TestClock } from "effect/testing"
import { destinations } from "../../../layers/access/destinationRules.ts"
import * as ForeignNetworksLive from "../../../layers/host/ForeignNetworks.ts"
import * as IpFamiliesLive from "../../../layers/host/IpFamilies.ts"
import * as TunnelLive from "../../../layers/host/Tunnel.ts"
import { DataPlaneRecorder } from "../../../layers/memory/DataPlaneRecording.ts"
import * as DataPlaneRecording from "../../../layers/memory/DataPlaneRecording.ts"
import * as HostNetworkMemory from "../../../layers/memory/HostNetworkMemory.ts"
import * as TunnelMemory from "../../../layers/memory/TunnelMemory.ts"
import { Destinations } from "../../../src/access/Destinations.ts"
import { packetPolicy as portalPackets } from "../../../src/control/firezone/packetPolicy.ts"
import { packetPolicy as standalonePackets } from "../../../src/control/standalone/packetPolicy.ts"
import { DnsSockets } from "../../../src/host/DnsSockets.ts"
import { HostError, HostNetwork } from "../../../src/host/HostNetwork.ts"
import { Tunnel, type TunnelPlan } from "../../../src/host/Tunnel.ts"
import { defaultRanges } from "../../../src/model/ranges.ts"
import { parseAddress } from "../../../src/packet/address.ts"
import { withLogLines } from "../../support/standalone.ts"

const plan: TunnelPlan = {
  gateway4: "100.64.0.1",
  gateway6: "fd00:2021:1111::1",
  firewall: "nftables",
  masquerade: true,
  fixedRanges: true,
  keepPorts: false,
  trackUdp: true,
  ranges: defaultRanges,
  packets: portalPackets,
  hostCandidates: true
}
const elsewhere = { ...plan, gateway4: "100.64.0.2", gateway6: "fd00:2021:1111::2" }
const noAnswer = () => Effect.succeed(null)

/** What is served just now: address, port and device. */
class Served extends Context.Service<Served, Array<string>>()("test/Served") {}

const dns = Layer.effectContext(
  Effect.sync(() => {
    const served: Array<string> = []
    const sockets = DnsSockets.of({
      serve: ({ addresses, device, port }) =>
        Effect.acquireRelease(
          Effect.sync(() => {
            served.push(...addresses.map((address) => `${address} ${port} ${device}`))
            return []
          }),
          () => Effect.sync(() => void served.splice(0, addresses.length))
        ),
      counters: Effect.succeed({})
    })
    return Context.make(DnsSockets, sockets).pipe(Context.add(Served, served))
  })
)

const layerOver = (host: Layer.Layer<HostNetwork>) =>
  TunnelLive.layer({ device: "tun0", mtu: 1280, bindToDevice: true }).pipe(
    Layer.provideMerge(
      Layer.mergeAll(
        DataPlaneRecording.layer,
        dns,
        host,
        destinations(defaultRanges),
        ForeignNetworksLive.layer,
        IpFamiliesLive.layer
      )
    )
  )

const commandsOf = (tag: "SetPolicy" | "SetHostCandidates") =>
  Effect.flatMap(DataPlaneRecorder, (recorder) =>
    Effect.map(recorder.commands, (all) => all.filter((command) => command._tag === tag))
  )

const refuses = (address: string) =>
  Effect.map(Destinations, (policy) => policy.judge(parseAddress(address)!, 0) !== undefined)

describe("the gateway's end of the tunnel", () => {
  it.effect("has host, packet path and destinations set up by the plan, once for the same", () => {
    const host = HostNetworkMemory.make(["192.0.2.10"])
    return Effect.gen(function* () {
      const tunnel = yield* Tunnel
      assert.isFalse(tunnel.ready())
      assert.isTrue(yield* tunnel.configure(plan))
      assert.isTrue(tunnel.ready())
      assert.isFalse(yield* tunnel.configure({ ...plan }))
      assert.deepStrictEqual(host.plans, [
        {
          device: "tun0",
          mtu: 1280,
          gateway4: "100.64.0.1",
          gateway6: "fd00:2021:1111::1",
          tunnelNetworks: [defaultRanges.tunnel4, defaultRanges.tunnel6],
          proxyNetworks: [defaultRanges.proxy4, defaultRanges.proxy6],
          listenPort: 52_625,
          dnsPort: 53_535,
          firewall: "nftables",
          masquerade: true,
          fixedRanges: true,
          keepPorts: false,
          trackUdp: true
        }
      ])
      const policies = yield* commandsOf("SetPolicy")
      assert.lengthOf(policies, 1)
      assert.deepInclude(policies[0], {
        packets: portalPackets,
        gateway4: "100.64.0.1",
        ownAddresses: ["192.0.2.10", "100.64.0.1", "fd00:2021:1111::1"]
      })
      assert.isTrue(yield* refuses("192.0.2.10"))
      assert.isFalse(yield* refuses("192.0.2.11"))
    }).pipe(Effect.provide(layerOver(host.layer)))
  })

  it.effect("is undone before another plan is taken, and with its life: host and DNS", () => {
    const host = HostNetworkMemory.make()
    return Effect.gen(function* () {
      const served = yield* Effect.gen(function* () {
        const tunnel = yield* Tunnel
        const served = yield* Served
        yield* tunnel.configure(plan)
        yield* tunnel.serve(noAnswer)
        assert.deepStrictEqual(served, ["100.64.0.1 53535 tun0", "fd00:2021:1111::1 53535 tun0"])
        assert.isTrue(yield* tunnel.configure(elsewhere))
        assert.deepStrictEqual(
          host.plans.map(({ gateway4 }) => gateway4),
          ["100.64.0.2"]
        )
        assert.deepStrictEqual(served, [])
        yield* tunnel.serve(noAnswer)
        assert.deepStrictEqual(served, ["100.64.0.2 53535 tun0", "fd00:2021:1111::2 53535 tun0"])
        return served
      }).pipe(Effect.provide(layerOver(host.layer)))
      assert.deepStrictEqual([host.plans.length, served.length], [0, 0])
    })
  })

  it.effect("serves no DNS without addresses: that is a bug", () =>
    Effect.gen(function* () {
      assert.isTrue(Exit.hasDies(yield* Effect.exit((yield* Tunnel).serve(noAnswer))))
    }).pipe(Effect.provide(layerOver(HostNetworkMemory.make().layer)))
  )

  it.effect("follows the host's own addresses: packet path and destinations are told", () => {
    const host = HostNetworkMemory.make(["192.0.2.10"])
    return Effect.gen(function* () {
      const tunnel = yield* Tunnel
      host.setAddresses(["192.0.2.10"])
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* commandsOf("SetPolicy"), [])
      yield* tunnel.configure(plan)
      host.setAddresses(["192.0.2.11"])
      yield* TestClock.adjust("1 second")
      const policies = yield* commandsOf("SetPolicy")
      assert.lengthOf(policies, 2)
      assert.include(policies[1]!._tag === "SetPolicy" ? policies[1].ownAddresses : [], "192.0.2.11")
      assert.isTrue(yield* refuses("192.0.2.11"))
      assert.isFalse(yield* refuses("192.0.2.10"))
    }).pipe(Effect.provide(layerOver(host.layer)))
  })

  it.effect("goes on following after the host could not be asked, which the log tells", () =>
    withLogLines((lines) => {
      let broken = true
      const news = HostNetworkMemory.make()
      const host = Layer.effect(
        HostNetwork,
        Effect.map(HostNetwork, (inner) =>
          HostNetwork.of({
            ...inner,
            ownAddresses: Effect.suspend(() =>
              broken ? Effect.fail(new HostError({ message: "ip is broken" })) : inner.ownAddresses
            )
          })
        )
      ).pipe(Layer.provide(news.layer))
      return Effect.gen(function* () {
        const tunnel = yield* Tunnel
        news.setAddresses(["192.0.2.10"])
        yield* TestClock.adjust("1 second")
        assert.isTrue(lines.some((line) => line.includes("ip is broken")))
        broken = false
        yield* tunnel.configure(plan)
        news.setAddresses(["192.0.2.11"])
        yield* TestClock.adjust("1 second")
        assert.isTrue(yield* refuses("192.0.2.11"))
      }).pipe(Effect.provide(layerOver(host)))
    })
  )

  it.effect("tells where clients may reach the host, once for the same, and only where they look for paths", () =>
    Effect.gen(function* () {
      const tunnel = yield* Tunnel
      yield* tunnel.reachedFrom("192.0.2.10")
      yield* tunnel.reachedFrom("192.0.2.10")
      yield* tunnel.configure(plan)
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(yield* commandsOf("SetHostCandidates"), [
        { _tag: "SetHostCandidates", addresses: [{ address: "192.0.2.10", port: 52_625 }] }
      ])
    }).pipe(Effect.provide(layerOver(HostNetworkMemory.make().layer)))
  )

  it.effect("asks nothing about uplinks for clients that dial one endpoint", () =>
    Effect.gen(function* () {
      yield* (yield* Tunnel).configure({ ...plan, packets: standalonePackets, hostCandidates: false })
      assert.deepStrictEqual(yield* commandsOf("SetHostCandidates"), [])
    }).pipe(
      Effect.provide(
        layerOver(
          Layer.mock(HostNetwork, {
            configure: () => Effect.succeed([]),
            ownAddresses: Effect.succeed([]),
            broadcasts: Effect.succeed([]),
            changed: Effect.never
          })
        )
      )
    )
  )

  it.effect("notices once that the address from which the control plane is reached has gone", () => {
    const host = HostNetworkMemory.make(["192.0.2.10", "192.0.2.20"])
    return Effect.gen(function* () {
      const tunnel = yield* Tunnel
      const moves: Array<number> = []
      yield* tunnel.moved.pipe(Effect.andThen(Effect.sync(() => moves.push(1))), Effect.forever, Effect.forkScoped)
      yield* tunnel.reachedFrom("192.0.2.10")
      host.setAddresses(["192.0.2.10", "192.0.2.30"])
      yield* TestClock.adjust("1 second")
      const before = moves.length
      host.setAddresses(["192.0.2.30"])
      yield* TestClock.adjust("1 second")
      host.setAddresses(["192.0.2.40"])
      yield* TestClock.adjust("1 second")

      assert.deepStrictEqual([before, moves.length], [0, 1])
    }).pipe(Effect.scoped, Effect.provide(layerOver(host.layer)))
  })

  it.effect("fails with the host's one line, and is not ready", () =>
    Effect.gen(function* () {
      const tunnel = yield* Tunnel
      assert.strictEqual((yield* Effect.flip(tunnel.configure(plan))).message, "overlap")
      assert.isFalse(tunnel.ready())
    }).pipe(
      Effect.provide(
        layerOver(
          Layer.mock(HostNetwork, {
            configure: () => Effect.fail(new HostError({ message: "overlap" })),
            changed: Effect.never
          })
        )
      )
    )
  )
})

describe("the tunnel in memory", () => {
  it.effect("takes and refuses plans as the real one does", () =>
    Effect.gen(function* () {
      const tunnel = yield* Tunnel
      const { plans } = yield* TunnelMemory.TunnelRecorder
      const changed = yield* Effect.forEach([plan, { ...plan }, elsewhere, plan], tunnel.configure)
      assert.deepStrictEqual(changed, [true, false, true, true])
      assert.deepStrictEqual(plans, [plan, elsewhere, plan])
    }).pipe(Effect.provide(TunnelMemory.layer))
  )
})
