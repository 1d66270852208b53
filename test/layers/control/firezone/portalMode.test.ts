import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import { DataPlaneRecorder } from "../../../../layers/memory/DataPlaneRecording.ts"
import * as DataPlaneRecording from "../../../../layers/memory/DataPlaneRecording.ts"
import { gatewayId } from "../../../../layers/host/gatewayId.ts"
import { serveHealth } from "../../../../layers/host/healthServer.ts"
import * as HostNetworkMemory from "../../../../layers/memory/HostNetworkMemory.ts"
import * as TunnelInterfaceLive from "../../../../layers/host/TunnelInterface.ts"
import { packetPolicy } from "../../../../src/control/firezone/packetPolicy.ts"
import { TunnelInterface } from "../../../../src/control/firezone/TunnelInterface.ts"
import { DnsSockets } from "../../../../src/host/DnsSockets.ts"
import { HostError, HostNetwork } from "../../../../src/host/HostNetwork.ts"

const directory = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "sallyport-id-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

describe("the gateway's id", () => {
  it.effect("is made once and kept", () =>
    Effect.gen(function* () {
      const stateDir = join(yield* directory, "a/b")
      const id = yield* gatewayId(stateDir)
      assert.match(id, /^[0-9a-f]{64}$/)
      assert.strictEqual(yield* gatewayId(stateDir), id)
      assert.deepStrictEqual(JSON.parse(readFileSync(join(stateDir, "gateway_id"), "utf8")), { id })
    }).pipe(Effect.scoped)
  )

  it.effect("is taken from a file in either form; a broken one is replaced", () =>
    Effect.gen(function* () {
      const stateDir = yield* directory
      const write = (text: string) => Effect.sync(() => writeFileSync(join(stateDir, "gateway_id"), text))
      yield* write(`{"id":"abc"}\n`)
      assert.strictEqual(yield* gatewayId(stateDir), "abc")
      yield* write("3f2a1b4c-0000-4000-8000-0123456789ab\n")
      assert.strictEqual(yield* gatewayId(stateDir), "3f2a1b4c-0000-4000-8000-0123456789ab")
      for (const text of ["", "{", "{}", `{"id":7}`, "two words"]) {
        yield* write(text)
        assert.match(yield* gatewayId(stateDir), /^[0-9a-f]{64}$/)
      }
    }).pipe(Effect.scoped)
  )

  it.effect("that cannot be kept is used all the same", () =>
    Effect.gen(function* () {
      const file = join(yield* directory, "file")
      writeFileSync(file, "")
      assert.match(yield* gatewayId(`${file}/state`), /^[0-9a-f]{64}$/)
    }).pipe(Effect.scoped)
  )
})

describe("the health service", () => {
  it.live("answers healthz always, readyz when ready, and nothing else", () =>
    Effect.gen(function* () {
      let ready = false
      const port = yield* serveHealth({ host: "127.0.0.1", port: 0 }, () => ready)
      const status = (path: string, method = "GET") =>
        Effect.promise(async () => (await fetch(`http://127.0.0.1:${port}${path}`, { method })).status)
      assert.strictEqual(yield* status("/healthz"), 200)
      assert.strictEqual(yield* status("/readyz"), 503)
      ready = true
      assert.strictEqual(yield* status("/readyz?x=1"), 200)
      assert.strictEqual(yield* status("/"), 404)
      assert.strictEqual(yield* status("/healthz", "POST"), 404)
      assert.isNull(yield* serveHealth({ host: "127.0.0.1", port: port! }, () => true))
    }).pipe(Effect.scoped)
  )
})

describe("the gateway's end of the tunnel", () => {
  const served: Array<string> = []
  const layerDns = Layer.succeed(DnsSockets, {
    serve: ({ addresses, port }) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          served.push(...addresses.map((address) => `${address} ${port}`))
          return []
        }),
        () => Effect.sync(() => void served.splice(0, addresses.length))
      ),
    counters: Effect.succeed({})
  })
  const own: Array<ReadonlyArray<string>> = []
  const layerOver = (host: Layer.Layer<HostNetwork>) =>
    TunnelInterfaceLive.layer({
      device: "tun-firezone",
      mtu: 1280,
      firewall: "nftables",
      masquerade: true,
      bindToDevice: false,
      dns: () => Effect.succeed(null),
      onOwnAddresses: (addresses) => void own.push(addresses)
    }).pipe(Layer.provideMerge(Layer.mergeAll(DataPlaneRecording.layer, layerDns, host)))

  it.effect("is set up with the portal's addresses, once for the same, anew for others", () =>
    Effect.suspend(() => {
      const host = HostNetworkMemory.make(["192.0.2.10"])
      return Effect.gen(function* () {
        const tunnel = yield* TunnelInterface
        const recorder = yield* DataPlaneRecorder
        const policies = Effect.map(recorder.commands, (all) => all.filter((c) => c._tag === "SetPolicy"))
        assert.isFalse(tunnel.ready())
        yield* tunnel.configure("100.64.0.1", "fd00:2021:1111::1")
        yield* TestClock.adjust(0)
        assert.isTrue(tunnel.ready())
        yield* tunnel.configure("100.64.0.1", "fd00:2021:1111::1")
        yield* TestClock.adjust(0)
        assert.lengthOf(yield* policies, 1)
        assert.deepInclude((yield* policies)[0], {
          packets: packetPolicy,
          gateway4: "100.64.0.1",
          ownAddresses: ["192.0.2.10", "100.64.0.1", "fd00:2021:1111::1"]
        })
        assert.deepInclude(host.plans[0], { dnsPort: 53_535, listenPort: 52_625, gateway4: "100.64.0.1" })
        assert.deepStrictEqual(served, ["100.64.0.1 53535", "fd00:2021:1111::1 53535"])
        yield* tunnel.configure("100.64.0.2", "fd00:2021:1111::2")
        yield* TestClock.adjust(0)
        assert.deepStrictEqual(
          host.plans.map((plan) => plan.gateway4),
          ["100.64.0.2"]
        )
        assert.deepStrictEqual(served, ["100.64.0.2 53535", "fd00:2021:1111::2 53535"])
        host.setAddresses(["192.0.2.11"])
        yield* TestClock.adjust("1 second")
        assert.include((yield* policies).at(-1)?.ownAddresses ?? [], "192.0.2.11")
        assert.include(own.at(-1) ?? [], "192.0.2.11")
      }).pipe(Effect.provide(layerOver(host.layer)))
    })
  )

  it.effect("tells where clients may reach the host, once for the same", () =>
    Effect.suspend(() => {
      const host = HostNetworkMemory.make()
      return Effect.gen(function* () {
        const tunnel = yield* TunnelInterface
        const recorder = yield* DataPlaneRecorder
        yield* tunnel.reachedFrom("192.0.2.10")
        yield* tunnel.reachedFrom("192.0.2.10")
        yield* tunnel.configure("100.64.0.1", "fd00:2021:1111::1")
        yield* TestClock.adjust(0)
        const told = (yield* recorder.commands).filter((c) => c._tag === "SetHostCandidates")
        assert.deepStrictEqual(
          told.map((c) => c.addresses),
          [[{ address: "192.0.2.10", port: 52_625 }]]
        )
      }).pipe(Effect.provide(layerOver(host.layer)))
    })
  )

  it.effect("notices once that the address from which the portal is reached has gone", () =>
    Effect.suspend(() => {
      const host = HostNetworkMemory.make(["192.0.2.10", "192.0.2.20"])
      return Effect.gen(function* () {
        const tunnel = yield* TunnelInterface
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
  )

  it.effect("fails with the host's one line", () =>
    Effect.gen(function* () {
      const tunnel = yield* TunnelInterface
      yield* tunnel.configure("100.64.0.1", "fd00:2021:1111::1")
      assert.strictEqual((yield* Effect.flip(tunnel.failure)).message, "overlap")
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
