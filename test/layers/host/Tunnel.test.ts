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
import { DnsSocketError, DnsSockets } from "../../../src/host/DnsSockets.ts"
import { ForeignNetworks } from "../../../src/host/ForeignNetworks.ts"
import { HostError, HostNetwork } from "../../../src/host/HostNetwork.ts"
import { IpFamilies } from "../../../src/host/IpFamilies.ts"
import { Tunnel, type TunnelPlan } from "../../../src/host/Tunnel.ts"
import { defaultRanges } from "../../../src/model/defaultRanges.ts"
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

const layerOver = (host: Layer.Layer<HostNetwork>, sockets = dns) =>
  TunnelLive.layer({ device: "tun0", mtu: 1280, bindToDevice: true }).pipe(
    Layer.provideMerge(
      Layer.mergeAll(
        DataPlaneRecording.layer,
        sockets,
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
      assert.isTrue(yield* tunnel.configure(plan))
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
          trackUdp: true,
          clientsCallFirst: false
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
        assert.isFalse(tunnel.ready(), "DNS is not served yet")
        yield* tunnel.serve(noAnswer)
        assert.isTrue(tunnel.ready())
        assert.deepStrictEqual(served, ["100.64.0.1 53535 tun0", "fd00:2021:1111::1 53535 tun0"])
        assert.isTrue(yield* tunnel.configure(elsewhere))
        assert.isFalse(tunnel.ready())
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

  it.effect("opens and closes the way to the gateway's host without touching anything else", () => {
    const host = HostNetworkMemory.make()
    return Effect.gen(function* () {
      const tunnel = yield* Tunnel
      yield* tunnel.configure(plan)
      yield* tunnel.serve(() => null)
      const before = yield* (yield* DataPlaneRecorder).commands
      const [first] = host.plans
      const steps: Array<readonly [changed: boolean, open: boolean | undefined]> = []
      for (const allowGatewayHost of [true, true, false]) {
        const changed = yield* tunnel.configure({ ...plan, allowGatewayHost })
        steps.push([changed, host.plans.at(-1)?.allowGatewayHost])
      }

      assert.deepStrictEqual(steps, [
        [true, true],
        [false, true],
        [true, false]
      ])
      assert.deepStrictEqual(host.plans, [{ ...first!, allowGatewayHost: false }])
      assert.deepStrictEqual(yield* (yield* DataPlaneRecorder).commands, before)
      assert.isTrue(tunnel.ready())
    }).pipe(Effect.provide(layerOver(host.layer)))
  })

  it.effect("is told to the host again where that has failed, whether it is to open or to close by then", () => {
    const inner = HostNetworkMemory.make()
    const told: Array<boolean | undefined> = []
    const host = Layer.effect(
      HostNetwork,
      Effect.map(HostNetwork, (network) =>
        HostNetwork.of({
          ...network,
          refilter: (allow) =>
            Effect.suspend(() => (told.push(allow) < 3 ? new HostError({ message: "no" }) : Effect.void))
        })
      )
    ).pipe(Layer.provide(inner.layer))
    return Effect.gen(function* () {
      const tunnel = yield* Tunnel
      const configured = (allowGatewayHost: boolean) =>
        Effect.match(tunnel.configure({ ...plan, allowGatewayHost }), {
          onFailure: () => "failed",
          onSuccess: (changed) => changed
        })
      yield* configured(true)
      const steps = [
        yield* configured(false),
        yield* configured(true),
        yield* configured(true),
        yield* configured(true)
      ]

      assert.deepStrictEqual(steps, ["failed", "failed", true, false])
      assert.deepStrictEqual(told, [false, true, true])
    }).pipe(Effect.provide(layerOver(host)))
  })

  it.effect("waits for nobody who puts the host right where the plan is in force already", () => {
    const news = HostNetworkMemory.make()
    const host = Layer.effect(
      HostNetwork,
      Effect.map(HostNetwork, (inner) => HostNetwork.of({ ...inner, repair: () => Effect.never }))
    ).pipe(Layer.provide(news.layer))
    return Effect.gen(function* () {
      const tunnel = yield* Tunnel
      yield* tunnel.configure(plan)
      news.change((there) => ({ ...there, table: "gone" }))
      yield* TestClock.adjust("1 second")
      const same = yield* Effect.forkChild(tunnel.configure({ ...plan }), { startImmediately: true })
      const other = yield* Effect.forkChild(tunnel.configure(elsewhere), { startImmediately: true })

      assert.deepStrictEqual(same.pollUnsafe(), Exit.succeed(false))
      assert.isUndefined(other.pollUnsafe())
    }).pipe(Effect.provide(layerOver(host)))
  })

  it.effect("looks at what the host uses of the ranges with each change of it", () => {
    const news = HostNetworkMemory.make()
    let looks = 0
    const host = Layer.effect(
      HostNetwork,
      Effect.map(HostNetwork, (inner) => HostNetwork.of({ ...inner, lookAtRanges: Effect.sync(() => void looks++) }))
    ).pipe(Layer.provide(news.layer))
    return Effect.gen(function* () {
      yield* (yield* Tunnel).configure(plan)
      for (const address of ["192.0.2.10", "192.0.2.11"]) {
        news.setAddresses([address])
        yield* TestClock.adjust("1 second")
      }
      assert.strictEqual(looks, 2)
    }).pipe(Effect.provide(layerOver(host)))
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
        news.setAddresses(["192.0.2.12"])
        yield* TestClock.adjust("1 second")
        assert.lengthOf(
          lines.filter((line) => line.includes("ip is broken")),
          1
        )
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
            changed: Effect.never,
            stirred: Effect.never
          })
        )
      )
    )
  )

  it.effect(
    "tells the packet path when the host gets or loses its way out for IPv6, or uses a part of the ranges",
    () => {
      const host = HostNetworkMemory.make()
      return Effect.gen(function* () {
        const tunnel = yield* Tunnel
        const families = yield* IpFamilies
        yield* tunnel.configure(plan)
        yield* families.found("wayOut", "no route")
        yield* TestClock.adjust(0)
        yield* families.found("device", "switched off")
        yield* families.found("wayOut", null)
        yield* TestClock.adjust(0)
        yield* families.found("device", null)
        yield* TestClock.adjust(0)
        assert.isTrue(yield* refuses("100.70.1.9"))
        yield* (yield* ForeignNetworks).found([{ network: "100.70.1.0/24", who: "an uplink" }])
        host.setAddresses([])
        yield* TestClock.adjust("1 second")
        assert.isFalse(yield* refuses("100.70.1.9"))
        const told = (yield* commandsOf("SetPolicy")).map((command) =>
          command._tag === "SetPolicy" ? [command.wayOut6, ...command.foreignNetworks] : []
        )
        assert.deepStrictEqual(told, [[true], [false], [true], [true, "100.70.1.0/24"]])
      }).pipe(Effect.provide(layerOver(host.layer)))
    }
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
            changed: Effect.never,
            stirred: Effect.never
          })
        )
      )
    )
  )
})

describe("the host under the tunnel", () => {
  /** A tunnel that serves DNS; each thing that is done to its host is met before the effect ends. */
  const kept = (
    host: Layer.Layer<HostNetwork>,
    run: (
      tunnel: Tunnel["Service"],
      lines: ReadonlyArray<string>
    ) => Effect.Effect<void, never, DataPlaneRecorder | Served>
  ) =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const tunnel = yield* Tunnel
        yield* Effect.orDie(tunnel.configure(plan))
        yield* Effect.orDie(tunnel.serve(noAnswer))
        yield* run(tunnel, lines)
      }).pipe(Effect.provide(layerOver(host)))
    )
  const settle = TestClock.adjust("1 second")

  it.effect("is put right when somebody changes it, in one line, with a row and a count", () => {
    const host = HostNetworkMemory.make()
    return kept(
      host.layer,
      Effect.fnUntraced(function* (tunnel, lines) {
        host.change((before) => ({ ...before, addresses: new Set(), routes: new Map(), table: "gone" }))
        yield* settle

        const what = [
          "the gateway's nft table was gone",
          "address 100.64.0.1/32 was gone",
          "address fd00:2021:1111::1/128 was gone",
          "route 100.64.0.0/11 was gone",
          "route fd00:2021:1111::/107 was gone"
        ]
        assert.deepStrictEqual(host.observed().routes.size, 2)
        assert.deepStrictEqual(yield* tunnel.kept, { repaired: 5, devicesMade: 0, last: { at: 0, what }, wrong: null })
        assert.lengthOf(lines, 1)
        assert.include(lines[0], `level=WARN`)
        assert.include(lines[0], `the host was changed, and is put right: ${what.join(", ")}`)
      })
    )
  })

  it.effect("has its device made again when that is gone, and DNS served on the new one", () => {
    const host = HostNetworkMemory.make()
    return kept(
      host.layer,
      Effect.fnUntraced(function* (tunnel, lines) {
        const served = yield* Served
        const before = [...served]
        served.splice(0)
        host.change((there) => ({ ...there, link: null }))
        yield* settle

        assert.deepStrictEqual(served, before)
        assert.isTrue(host.observed().link?.up)
        assert.deepInclude(yield* tunnel.kept, { repaired: 1, devicesMade: 1 })
        assert.lengthOf(lines, 1)
        assert.include(lines[0], "the TUN device tun0 was gone")
      })
    )
  })

  it.effect("has DNS served on the new device later, where that does not work at once", () => {
    const host = HostNetworkMemory.make()
    let calls = 0
    const brokenOnce = Layer.effect(
      DnsSockets,
      Effect.map(DnsSockets, (inner) =>
        DnsSockets.of({
          ...inner,
          serve: (service) =>
            ++calls === 2
              ? Effect.fail(new DnsSocketError({ message: "port 53 is taken", absent: false }))
              : inner.serve(service)
        })
      )
    ).pipe(Layer.provideMerge(dns))
    return Effect.gen(function* () {
      const tunnel = yield* Tunnel
      const served = yield* Served
      yield* tunnel.configure(plan)
      yield* tunnel.serve(noAnswer)
      const before = [...served]
      host.change((there) => ({ ...there, link: null }))
      yield* settle
      assert.deepStrictEqual([(yield* tunnel.kept).wrong?.what, served], [["port 53 is taken"], []])

      host.change((there) => there)
      yield* settle
      assert.deepStrictEqual([(yield* tunnel.kept).wrong, served], [null, before])
    }).pipe(Effect.provide(layerOver(host.layer, brokenOnce)))
  })

  it.effect(
    "that cannot be put right is told with the reason once, again when it changes, and when it is right",
    () => {
      const news = HostNetworkMemory.make()
      let refused: ReadonlyArray<string> = ["a: set it on the host"]
      const host = Layer.effect(
        HostNetwork,
        Effect.map(HostNetwork, (inner) =>
          HostNetwork.of({ ...inner, repair: () => Effect.sync(() => ({ repaired: [], refused, remade: false })) })
        )
      ).pipe(Layer.provide(news.layer))
      return kept(
        host,
        Effect.fnUntraced(function* (tunnel, lines) {
          const stir = Effect.andThen(
            Effect.sync(() => news.change((before) => before)),
            settle
          )
          yield* stir
          yield* stir
          assert.lengthOf(lines, 1)
          assert.deepStrictEqual((yield* tunnel.kept).wrong, { since: 0, what: ["a: set it on the host"] })
          refused = ["a: set it on the host", "b: load the module"]
          yield* stir
          assert.lengthOf(lines, 2)
          assert.include(lines[1], "b: load the module")
          refused = []
          yield* stir
          assert.include(lines[2], "the host is as it should be again")
          assert.isNull((yield* tunnel.kept).wrong)
        })
      )
    }
  )

  it.effect("that somebody changes without end has no line for what fails by that, either", () => {
    const news = HostNetworkMemory.make()
    let rounds = 0
    const host = Layer.effect(
      HostNetwork,
      Effect.map(HostNetwork, (inner) =>
        HostNetwork.of({
          ...inner,
          repair: (remake) =>
            Effect.map(inner.repair(remake), (found) => ({ ...found, refused: [`attempt ${rounds++} has failed`] }))
        })
      )
    ).pipe(Layer.provide(news.layer))
    return kept(
      host,
      Effect.fnUntraced(function* (_, lines) {
        for (let i = 0; i < 50; i++) {
          news.change((before) => ({ ...before, table: "gone" }))
          yield* TestClock.adjust("100 millis")
        }
        assert.isAbove(rounds, 40)
        assert.include(lines.at(-1), "without a line each from now on")
      })
    )
  })

  it.effect("that somebody changes without end is put right once a second then, in one line until that is over", () => {
    const host = HostNetworkMemory.make()
    return kept(
      host.layer,
      Effect.fnUntraced(function* (tunnel, lines) {
        const change = Effect.sync(() => host.change((before) => ({ ...before, table: "gone" })))
        for (let i = 0; i < 200; i++) {
          yield* change
          yield* TestClock.adjust("100 millis")
        }
        const { repaired } = yield* tunnel.kept
        // As often as it was changed for six seconds, then once a second.
        assert.isAtLeast(repaired, 70)
        assert.isAtMost(repaired, 85)
        // One each for 20 in a row, and the few more of these seconds; then one for all.
        assert.isAtMost(lines.length, 24)
        assert.include(lines.at(-1), "somebody keeps changing the host (the gateway's nft table was gone)")

        yield* TestClock.adjust("12 seconds")
        const told = lines.length
        host.change((before) => before)
        yield* settle
        assert.match(lines[told]!, /nobody keeps changing the host any more: put right \d+ times without a line each/)
        yield* change
        yield* settle
        assert.include(lines[told + 1], "the host was changed, and is put right")
        assert.lengthOf(lines, told + 2)
      })
    )
  })
})

describe("what the host takes away", () => {
  it.effect("is told until packets come again, or until who took them is gone: nobody may send any for hours", () => {
    const inner = HostNetworkMemory.make()
    let lost = 3
    let blame = { likely: "the rule A", fix: "remove it", sure: true }
    let generation = 1
    const host = Layer.effect(
      HostNetwork,
      Effect.map(HostNetwork, (network) =>
        HostNetwork.of({
          ...network,
          rulesGeneration: Effect.sync(() => generation),
          pathCounts: () =>
            Effect.sync(() => [
              { way: "service", family: "ipv4", protocol: "udp", device: "", first: lost, last: 0 } as const
            ]),
          blame: () => Effect.sync(() => blame)
        })
      )
    ).pipe(Layer.provide(inner.layer))
    return withLogLines((lines) =>
      Effect.gen(function* () {
        const tunnel = yield* Tunnel
        yield* tunnel.configure(plan)
        yield* TestClock.adjust("3 seconds")
        const what = "clients' DNS questions by UDP (IPv4)"
        assert.deepStrictEqual((yield* tunnel.firewall).lost, [
          { what, since: 0, latest: 0, packets: 3, likely: "the rule A", fix: "remove it" }
        ])
        generation = 2
        yield* TestClock.adjust("12 seconds")
        assert.lengthOf((yield* tunnel.firewall).lost, 1)
        assert.lengthOf(lines, 1)

        blame = { likely: "the rule B", fix: "remove that", sure: true }
        generation = 3
        yield* TestClock.adjust("12 seconds")
        assert.deepStrictEqual((yield* tunnel.firewall).lost, [])
        assert.include(lines[1], `what took ${what} is gone: the next of them will show`)
        lost = 5
        yield* TestClock.adjust("12 seconds")
        const again = yield* tunnel.firewall
        assert.deepInclude(again.lost[0], { packets: 2, likely: "the rule B" })
        assert.deepStrictEqual(again.counters, { lost: 2, healed: 1 })
      }).pipe(Effect.provide(layerOver(host)))
    )
  })

  it.effect("is counted anew, after all rules were flushed, before or after the host is put right", () => {
    const inner = HostNetworkMemory.make()
    let [atOnce, most, begun, reads] = [0, 0, 0, 0]
    const slowly = <A, E>(change: Effect.Effect<A, E>) =>
      Effect.acquireUseRelease(
        Effect.sync(() => void (most = Math.max(most, ++atOnce))),
        () => Effect.delay(change, "700 millis"),
        () => Effect.sync(() => void atOnce--)
      )
    const host = Layer.effect(
      HostNetwork,
      Effect.map(HostNetwork, (network) =>
        HostNetwork.of({
          ...network,
          repair: (remake) => slowly(network.repair(remake)),
          countPaths: () => slowly(Effect.sync(() => void begun++)),
          // There when it was made, and gone at the next look.
          pathCounts: () =>
            Effect.suspend(() => (reads++ % 2 === 0 ? Effect.succeed([]) : new HostError({ message: "gone" })))
        })
      )
    ).pipe(Layer.provide(inner.layer))
    return Effect.gen(function* () {
      const tunnel = yield* Tunnel
      yield* tunnel.configure(plan)
      for (let i = 0; i < 10; i++) {
        inner.change((before) => ({ ...before, table: "gone" }))
        yield* TestClock.adjust("1 second")
      }
      assert.isAbove((yield* tunnel.kept).repaired, 1)
      assert.isAbove(begun, 1)
      assert.isAtMost(begun, 10)
      assert.strictEqual(most, 1)
    }).pipe(Effect.provide(layerOver(host)))
  })
})

describe("the host under the tunnel, changed every two seconds or so, for forty minutes", () => {
  it.effect("is put right and told every time", () => {
    const host = HostNetworkMemory.make()
    return withLogLines((lines) =>
      Effect.gen(function* () {
        yield* (yield* Tunnel).configure(plan)
        for (let i = 0; i < 1_200; i++) {
          host.change((before) => ({ ...before, table: "gone" }))
          yield* TestClock.adjust(i % 2 === 0 ? 1_500 : 2_700)
        }
        assert.strictEqual(lines.filter((line) => line.includes("is put right")).length, 1_200)
      }).pipe(Effect.provide(layerOver(host.layer)))
    )
  })
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

  it.effect("is ready while it serves DNS, as the real one", () =>
    Effect.gen(function* () {
      const tunnel = yield* Tunnel
      const ready = [tunnel.ready()]
      for (const step of [
        tunnel.configure(plan),
        tunnel.serve(noAnswer),
        tunnel.configure({ ...plan, allowGatewayHost: true }),
        tunnel.configure(elsewhere)
      ]) {
        yield* step
        ready.push(tunnel.ready())
      }
      assert.deepStrictEqual(ready, [false, false, true, true, false])
    }).pipe(Effect.provide(TunnelMemory.layer))
  )
})
