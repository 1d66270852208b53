/** A gateway that goes away and comes back: what clients notice, what it leaves on the host, what it keeps. */
import { assert, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import { rmSync } from "node:fs"
import type { StatusReport } from "../../src/cli/statusReport.ts"
import { type Capture, Lab, LabError } from "../../src/lab/demo/Lab.ts"
import { type CapturedPacket, handshakeMessage, ipView } from "../../src/lab/demo/packets.ts"
import { type Gateway, gatewayPort } from "../../src/lab/demo/tunnel.ts"
import { protocolUdp } from "../../src/packet/protocols.ts"
import { inPairs } from "../support/inPairs.ts"
import { gatewayConfig, inLab, inner, outer } from "../support/lab.ts"
import { nothing, onlyLine, traces } from "../support/operator.ts"
import {
  appName,
  connectSallyport,
  connectWireguardGo,
  endpointKept,
  restartGateway,
  startWorld
} from "../support/labWorld.ts"

const resources = `  intranet: { name: app.corp.internal, resolver: corp, allow: [visitor] }
  services: { name: "*.svc.corp.internal", resolver: corp, allow: [visitor] }`

/** Epoch milliseconds of the gateway's own "ready". */
const readyAt = (gateway: Gateway): Effect.Effect<number, LabError> =>
  Effect.flatMap(gateway.process.output, (output) => {
    const stamp = /^timestamp=(\S+) .*message=ready/m.exec(output)?.[1]
    return stamp === undefined
      ? Effect.fail(new LabError({ message: `the gateway never said that it is ready:\n${output}` }))
      : Effect.succeed(Date.parse(stamp))
  }).pipe(Effect.retry({ schedule: Schedule.spaced("20 millis"), times: 1_000 }))

/** When, after `since`, the gateway first called its client and when that answered. */
const calledBack = Effect.fnUntraced(function* (wire: Capture, since: number) {
  const call = yield* wire.first((p) => p.at > since && p.direction === "out" && handshakeMessage(p) === 1, {
    timeout: "20 seconds"
  })
  const answer = yield* wire.first((p) => p.at > since && p.direction === "in" && handshakeMessage(p) === 2, {
    timeout: "20 seconds"
  })
  if (call === null || answer === null) return yield* Effect.die(new Error("no handshake called for by the gateway"))
  return { call: call.at, answer: answer.at }
})

const untilStatus = (gateway: Gateway, isSo: (report: StatusReport) => boolean) =>
  gateway.status.pipe(
    Effect.filterOrFail(isSo, (report) => new LabError({ message: JSON.stringify(report) })),
    Effect.retry({ schedule: Schedule.spaced("100 millis"), times: 200 })
  )

const connectors = {
  "wireguard-go": connectWireguardGo,
  "sallyport connect": connectSallyport
}

for (const [client, connect] of Object.entries(connectors)) {
  it.live(
    `${client}: a proxy IP from before works after a restart and after kill -9, the gateway calls first, nothing is left`,
    () =>
      Effect.gen(function* () {
        const lab = yield* Lab
        const wire = yield* lab.capture("gateway", { devices: ["outer"] })
        const world = yield* startWorld({ resources })
        for (const label of ["one", "two", "three", "four"]) {
          yield* world.nameServer.set({ name: `${label}.svc.corp.internal`, a: [inner.origin.v4] })
        }
        yield* connect(world)
        const proxy = yield* world.proxyOf()
        const proxy6 = yield* world.proxyOf(appName, "AAAA")
        assert.strictEqual((yield* world.visitor.get({ address: proxy })).servedBy, inner.origin.v4)
        yield* endpointKept

        const terminated = Date.now()
        const code = yield* world.gateway.process.stop
        const stopMs = Date.now() - terminated
        assert.strictEqual(code, 0, yield* world.gateway.process.output)
        assert.isBelow(stopMs, 2000)
        assert.deepStrictEqual(yield* traces, nothing)

        const since = Date.now()
        const second = yield* restartGateway(world, { resources })
        const back = yield* world.visitor.retry({ address: proxy, every: 50, deadline: 20_000 })
        const ready = yield* readyAt(second)
        const { answer } = yield* calledBack(wire, since)
        assert.strictEqual(back.page?.servedBy, inner.origin.v4, JSON.stringify(back.errors))
        // The first packet waits for the lookup that it causes.
        assert.notProperty(back.errors, "ENETUNREACH")
        assert.isBelow(answer - ready, 1000)

        // Others get other addresses, the same name keeps its own.
        const other = yield* world.proxyOf("one.svc.corp.internal")
        assert.notInclude([proxy, proxy6], other)
        assert.strictEqual(yield* world.proxyOf(), proxy)
        // Once it is known to exist it is kept.
        yield* untilStatus(second, ({ mappings }) => {
          const one = mappings.find(({ domain }) => domain === "one.svc.corp.internal")
          return one?.state === "Resolved"
        })
        assert.strictEqual(yield* world.proxyOf("one.svc.corp.internal"), other)

        yield* second.process.kill
        const left = yield* traces
        assert.include(left.tables, "table inet sallyport_sallyport0")
        assert.deepStrictEqual(left.control, ["gateway.sock"])
        const killedAt = Date.now()
        const third = yield* restartGateway(world, { resources })
        const again = yield* world.visitor.retry({ address: proxy, every: 50, deadline: 20_000 })
        const thirdReady = yield* readyAt(third)
        const afterKill = yield* calledBack(wire, killedAt)
        assert.strictEqual(again.page?.servedBy, inner.origin.v4, JSON.stringify(again.errors))
        assert.notProperty(again.errors, "ENETUNREACH")
        assert.isBelow(afterKill.answer - thirdReady, 1000)
        assert.strictEqual(yield* world.proxyOf(), proxy)
        assert.strictEqual(yield* world.proxyOf(appName, "AAAA"), proxy6)
        assert.strictEqual(yield* world.proxyOf("one.svc.corp.internal"), other)
        const fresh = yield* Effect.forEach(["two", "three", "four"], (label) =>
          world.proxyOf(`${label}.svc.corp.internal`)
        )
        assert.strictEqual(new Set([proxy, other, ...fresh]).size, 5)

        assert.strictEqual(yield* third.process.stop, 0)
        assert.deepStrictEqual(yield* traces, nothing)
        yield* Effect.logInfo(
          `${client}: stop ${stopMs} ms; handshake ${(answer - ready).toFixed(0)} ms after ready (kill -9: ${(afterKill.answer - thirdReady).toFixed(0)} ms)`
        )
      }).pipe(inLab),
    // By itself: how long the gateway takes is told by the clock.
    90_000
  )
}

inPairs("a second gateway ends with one line that says what the first one has, and the first one goes on", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    const world = yield* startWorld()
    yield* connectWireguardGo(world)
    const proxy = yield* world.proxyOf()
    const base = gatewayConfig({ clientKey: world.clientKeys.publicKey })
    const moved = `network: { tunnel_ipv4: 10.64.0.0/16, tunnel_ipv6: "fd00:64::/64", proxy_ipv4: 10.96.0.0/16, proxy_ipv6: "fd00:96::/64" }
clients: { visitor: { public_key: "${world.clientKeys.publicKey}" } }
`
    const second = Effect.fnUntraced(function* (name: string, config: string, more: string, state = name) {
      const path = yield* lab.writeFile(
        `${name}.yaml`,
        `${config}\nstate_dir: ${lab.directory}/${state}-state\n${more}`
      )
      const result = yield* lab.attempt("gateway", [...lab.program("sallyport"), "up", "--config", path], {
        timeout: "20 seconds"
      })
      assert.strictEqual(result.code, 1, result.stderr)
      return onlyLine(result)
    })
    const ownSocket = (name: string) => `control_socket: ${lab.directory}/${name}.sock`
    const theirs = `control_socket: ${lab.directory}/gateway.sock`

    assert.match(yield* second("again", base, theirs), /a gateway is already running .*gateway\.sock.* stop it/)
    assert.match(
      yield* second("device", base, `${ownSocket("device")}\nlisten: 51999`),
      /TUN device sallyport0 is in use by another process: stop that process or choose another device name/
    )
    assert.match(
      yield* second("port", base, `${ownSocket("port")}\ndevice: sallyport1`),
      /UDP port 51820 is taken .*ss -lunp sport = :51820/
    )
    assert.match(
      yield* second("range", base, `${ownSocket("range")}\ndevice: sallyport1\nlisten: 51999`),
      /100\.64\.0\.0\/11.*sallyport0/
    )
    assert.match(
      yield* second("socket", `endpoint: 192.0.2.1:51999\n${moved}`, `${theirs}\ndevice: sallyport1\nlisten: 51999`),
      /a gateway is already running/
    )
    const elsewhere = `${ownSocket("state")}\ndevice: sallyport1\nlisten: 51999`
    assert.match(
      yield* second("state", `endpoint: 192.0.2.1:51999\n${moved}`, elsewhere, "gateway"),
      /gateway-state is in use by another gateway \(pid \d+\): stop it, or give this one a state directory of its own/
    )

    assert.strictEqual((yield* world.visitor.get({ address: proxy })).servedBy, inner.origin.v4)
    assert.strictEqual((yield* world.gateway.status).gateway.publicKey, world.gateway.publicKey)
    assert.include((yield* traces).tables, "table inet sallyport_sallyport0")
  }).pipe(inLab)
)

inPairs(
  "a client is called from the address that it dialled, which alone leads to it, after kill -9 and a deleted state",
  () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      const service = "198.18.7.1"
      yield* lab.exec("gateway", ["ip", "addr", "add", `${service}/32`, "dev", "lo"])
      yield* lab.exec("client", ["ip", "route", "add", `${service}/32`, "via", outer.gateway.v4])
      // Two uplinks: that of the client is for what comes from the service's address.
      const way = `ip rule add from ${service} lookup 77; ip route add ${outer.client.v4}/32 dev outer table 77`
      yield* lab.exec("gateway", ["sh", "-ec", `${way}; ip route add unreachable ${outer.client.v4}/32`])
      const world = yield* startWorld()
      const client = yield* connectWireguardGo(world, { endpoint: `${service}:${gatewayPort}` })
      const proxy = yield* world.proxyOf()
      yield* endpointKept
      const state = `${lab.directory}/gateway-state`
      rmSync(state, { recursive: true })
      yield* endpointKept

      const wire = yield* lab.capture("gateway", { devices: ["outer"] })
      const since = Date.now()
      yield* world.gateway.process.kill
      const again = yield* restartGateway(world)
      assert.strictEqual(again.publicKey, world.gateway.publicKey)
      const back = yield* world.visitor.retry({ address: proxy, every: 50, deadline: 20_000 })
      assert.strictEqual(back.page?.servedBy, inner.origin.v4, JSON.stringify(back.errors))
      yield* calledBack(wire, since)
      const endpoints = yield* lab.exec("client", ["wg", "show", client.device, "endpoints"])
      assert.include(endpoints, `${service}:${gatewayPort}`)
    }).pipe(inLab)
)

inPairs("a client that the gateway's call after kill -9 did not reach is called again at its first packet", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    const world = yield* startWorld()
    yield* connectWireguardGo(world)
    const proxy = yield* world.proxyOf()
    yield* endpointKept
    const wire = yield* lab.capture("gateway", { devices: ["outer"] })
    // As behind a NAT that lets nobody in before the client sends.
    yield* lab.exec("client", ["nft", "-f", "-"], {
      input: `table inet shut { chain inward { type filter hook input priority 0; udp sport ${gatewayPort} drop; }; }`
    })
    const killedAt = Date.now()
    yield* world.gateway.process.kill
    yield* restartGateway(world)
    const missed = yield* wire.first((p) => p.at > killedAt && p.direction === "out" && handshakeMessage(p) === 1, {
      timeout: "20 seconds"
    })
    assert.isNotNull(missed)
    yield* lab.exec("client", ["nft", "delete table inet shut"])

    const since = Date.now()
    const back = yield* world.visitor.retry({ address: proxy, every: 50, deadline: 5000 })
    assert.strictEqual(back.page?.servedBy, inner.origin.v4, JSON.stringify(back.errors))
    const packet = yield* wire.first((p) => p.at > since && p.direction === "in" && isUdp(p), { timeout: "5 seconds" })
    const { answer } = yield* calledBack(wire, since)
    assert.isBelow(answer - (packet?.at ?? 0), 1000)
  }).pipe(inLab)
)

const isUdp = ({ bytes }: CapturedPacket): boolean => ipView(bytes)?.protocol === protocolUdp

/** Addresses of the gateway's host from which it would not send to the client by itself. */
const dialled = {
  "a virtual address, beside another one": {
    address: "192.0.2.77",
    gateway: ["ip address add 192.0.2.77/24 dev outer"],
    client: []
  },
  "that of an uplink which a rule by source leads back to": {
    address: "198.51.100.1",
    gateway: [
      "ip address add 198.51.100.1/24 dev back",
      "ip link set back up",
      `ip route add ${outer.client.v4}/32 via 198.51.100.2 dev back table 88`,
      "ip rule add from 198.51.100.1 lookup 88"
    ],
    client: [
      "ip address add 198.51.100.2/24 dev back",
      "ip link set back up",
      `ip route replace 198.51.100.1/32 dev back src ${outer.client.v4}`
    ]
  }
} as const

for (const [what, { address, ...commands }] of Object.entries(dialled)) {
  inPairs(`a client is called from the address that it dialled after kill -9: ${what}`, () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      const peer = ["type", "veth", "peer", "name", "back", "netns", lab.namespace("client")]
      yield* lab.exec("gateway", ["ip", "link", "add", "back", ...peer])
      for (const host of ["client", "gateway"] as const) {
        yield* lab.exec(host, ["sh", "-ec", commands[host].join("\n")])
      }
      const world = yield* startWorld()
      const client = yield* connectWireguardGo(world, { endpoint: `${address}:${gatewayPort}` })
      const proxy = yield* world.proxyOf()
      yield* endpointKept

      const wire = yield* lab.capture("client", { devices: ["outer", "back"] })
      const since = Date.now()
      yield* world.gateway.process.kill
      yield* restartGateway(world)
      const call = yield* wire.first((p) => p.at > since && p.direction === "in" && handshakeMessage(p) === 1, {
        timeout: "20 seconds"
      })
      const back = yield* world.visitor.retry({ address: proxy, every: 50, deadline: 20_000 })

      assert.strictEqual(ipView(call?.bytes ?? new Uint8Array())?.source, address)
      assert.strictEqual(back.page?.servedBy, inner.origin.v4, JSON.stringify(back.errors))
      const endpoints = yield* lab.exec("client", ["wg", "show", client.device, "endpoints"])
      assert.include(endpoints, `${address}:${gatewayPort}`)
    }).pipe(inLab)
  )
}

it.live(
  "uploads by open connections, to a name and to a network, go on over SIGTERM and over kill -9",
  () =>
    Effect.gen(function* () {
      const options = { resources: `${resources}\n  lan: { cidr: ${inner.otherOrigin.v4}/32, allow: [visitor] }` }
      const world = yield* startWorld(options)
      yield* connectWireguardGo(world, { allowedIps: [`${inner.otherOrigin.v4}/32`] })
      const { visitor } = world
      yield* visitor.openUpload("name", yield* world.proxyOf())
      yield* visitor.openUpload("network", inner.otherOrigin.v4)
      yield* endpointKept

      yield* world.gateway.process.stop
      const second = yield* restartGateway(world, options)
      yield* untilStatus(second, ({ clients }) => clients[0]?.connected === true)
      yield* second.process.kill
      yield* restartGateway(world, options)

      for (const upload of ["name", "network"]) {
        const { sent, sha256 } = yield* visitor.closeUpload(upload)
        assert.strictEqual(sha256, sent, upload)
      }
    }).pipe(inLab),
  { timeout: 120_000, concurrent: true }
)

inPairs(
  "downloads by open connections, whose client only listens, go on after kill -9 where nothing is masqueraded",
  () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      const options = {
        resources: `${resources}\n  lan: { cidr: ${inner.otherOrigin.v4}/32, allow: [visitor] }`,
        more: "masquerade: false"
      }
      yield* lab.exec("lan", ["ip", "route", "add", "100.64.0.0/11", "via", inner.gateway.v4])
      const world = yield* startWorld(options)
      yield* connectWireguardGo(world, { allowedIps: [`${inner.otherOrigin.v4}/32`] })
      const { visitor } = world
      yield* visitor.openDrip("name", yield* world.proxyOf())
      yield* visitor.openDrip("network", inner.otherOrigin.v4)
      yield* endpointKept
      yield* Effect.sleep("500 millis")

      const killedAt = Date.now()
      yield* world.gateway.process.kill
      const again = yield* restartGateway(world, options)
      const ready = yield* readyAt(again)

      const goesOn = Effect.fnUntraced(function* (download: string, { lines }: { readonly lines: number }) {
        yield* visitor.readDrip(download).pipe(
          Effect.filterOrFail(
            (now) => now.lines > lines,
            (now) => new LabError({ message: `${download}: ${JSON.stringify(now)}` })
          ),
          Effect.retry({ schedule: Schedule.spaced("50 millis"), times: 600 })
        )
        return Date.now()
      })
      const then = [yield* visitor.readDrip("name"), yield* visitor.readDrip("network")] as const
      const [name, network] = yield* Effect.all([goesOn("name", then[0]), goesOn("network", then[1])], {
        concurrency: 2
      })
      const { counters } = yield* again.status
      assert.isAtLeast(counters.dataPlane["probes.sent"]!, 2)
      yield* Effect.logInfo(
        `ready ${ready - killedAt} ms after the kill, the downloads went on ${name - ready} and ${network - ready} ms after that`
      )
      // The servers send again after pauses that double from 200 ms on, and what they send first goes on.
      const outage = ready - killedAt
      for (const at of [name, network]) assert.isBelow(at - ready, outage + 2_000)
    }).pipe(inLab)
)
