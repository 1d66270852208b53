/** What neighbours, names and clients of bad will try: each attempt is refused and counted, and nobody else notices. */
import { assert, layer } from "@effect/vitest"
import { Clock, Context, Effect, Fiber, Layer, Queue, Schedule, Schema } from "effect"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import * as LabLayer from "../../layers/lab/Lab.ts"
import type { StatusReport } from "../../src/cli/statusReport.ts"
import { newNameLimit, questionLimit } from "../../src/dns/QuestionBudget.ts"
import { type Capture, Lab, type LabError, type LabHost, type LabProcess } from "../../src/lab/demo/Lab.ts"
import { ipView } from "../../src/lab/demo/packets.ts"
import { statusAt } from "../../src/lab/demo/statusAt.ts"
import { gatewayPort, tunnelAddresses } from "../../src/lab/demo/tunnel.ts"
import { flood } from "../support/flood.ts"
import { watchDnsLine } from "../support/dnsLine.ts"
import { inner, outer } from "../support/lab.ts"
import { connectWireguardGo, startWorld, type World } from "../support/labWorld.ts"
import { startWireguardGo, type WireguardGo, type WireguardGoError } from "../support/wireguardGo.ts"

const colleague = { v4: "100.64.0.3", v6: "fd00:2021:1111::3" }
const newcomer = { v4: "100.64.0.4", v6: "fd00:2021:1111::4" }

/** A world with a second client on the company's LAN, a third that has yet to come, and an sshd on the gateway. */
class Town extends Context.Service<
  Town,
  {
    readonly world: World
    readonly wireguard: WireguardGo
    /** The first client's device, the second client's device. */
    readonly tunnel: Capture
    readonly theirs: Capture
    readonly newcomerKeys: { readonly privateKey: string; readonly publicKey: string }
    /** Connections that the gateway's own port 22 got. */
    readonly sshd: LabProcess
    readonly status: Effect.Effect<StatusReport>
  }
>()("sallyport/test/Town") {}

const town: Layer.Layer<Town | Lab, LabError | WireguardGoError> = Layer.effect(
  Town,
  Effect.gen(function* () {
    const lab = yield* Lab
    const keys = yield* lab.keyPair
    const newcomerKeys = yield* lab.keyPair
    const world = yield* startWorld({
      clients: `  colleague: { public_key: "${keys.publicKey}", tunnel_ipv4: ${colleague.v4}, tunnel_ipv6: "${colleague.v6}" }
  newcomer: { public_key: "${newcomerKeys.publicKey}", tunnel_ipv4: ${newcomer.v4}, tunnel_ipv6: "${newcomer.v6}" }`,
      resources: `  intranet: { name: app.corp.internal, resolver: corp, allow: [visitor, colleague] }
  services: { name: "*.svc.corp.internal", resolver: corp, allow: [visitor, colleague] }
  network: { cidr: ${inner.network.v4}, allow: [visitor] }
  everything: { internet: true, allow: [visitor] }`,
      more: "other_names: refuse"
    })
    const wireguard = yield* connectWireguardGo(world, { allowedIps: [inner.network.v4, "169.254.169.254/32"] })
    // What its own device has no room for never gets to the gateway.
    yield* lab.exec("client", ["ip", "link", "set", wireguard.device, "txqueuelen", "4000"])
    const second = yield* connectFromLan(world, keys.privateKey, "k", [`${colleague.v4}/32`, `${colleague.v6}/128`])
    const tunnel = yield* lab.capture("client", { devices: [wireguard.device] })
    const theirs = yield* lab.capture("lan", { devices: [second.device] })
    const sshd = yield* lab.spawn("gateway", [process.execPath, hostileMain, "listen"])
    assert.strictEqual(yield* Effect.orDie(Queue.take(sshd.lines)), "listening")
    const status = Effect.orDie(statusAt(lab, `${lab.directory}/gateway.sock`))
    // Both are connected before anything bad happens, and the captures, which run behind, have seen it.
    for (const [host, capture] of [
      ["client", tunnel],
      ["lan", theirs]
    ] as const) {
      assert.isTrue((yield* ping(host, tunnelAddresses.gateway.v4, "-W", "5")).answered, `${host} is not connected`)
      assert.isNotNull(yield* capture.first((packet) => packet.direction === "in", { timeout: "20 seconds" }))
    }
    return { world, wireguard, tunnel, theirs, newcomerKeys, sshd, status }
  })
).pipe(Layer.provideMerge(LabLayer.layer))

const connectFromLan = Effect.fnUntraced(function* (
  world: World,
  privateKey: string,
  prefix: string,
  addresses: ReadonlyArray<string>
) {
  const lab = yield* Lab
  return yield* startWireguardGo({
    host: "lan",
    device: `${prefix}${lab.id.split("-").slice(-2).join("x")}`,
    privateKey,
    addresses,
    routes: [tunnelAddresses.gateway.v4, "100.96.0.0/11"],
    peers: [
      {
        publicKey: world.gateway.publicKey,
        allowedIps: tunnelAddresses.networks,
        endpoint: `${inner.gateway.v4}:${gatewayPort}`
      }
    ]
  })
})

const hostileMain = fileURLToPath(new URL("../support/hostileMain.ts", import.meta.url))

const Report = Schema.fromJsonString(Schema.Struct({ sent: Schema.Finite, replies: Schema.Finite }))

const attack = Effect.fnUntraced(function* (host: LabHost, ...parameters: ReadonlyArray<string | number>) {
  const lab = yield* Lab
  // What is sent as fast as it goes is to take the gateway's time, not the machine's.
  const nice = parameters[0] === "known" ? ["nice", "-n", "19"] : []
  const output = yield* lab.exec(host, [...nice, process.execPath, hostileMain, ...parameters.map(String)], {
    timeout: "60 seconds"
  })
  return yield* Effect.orDie(Schema.decodeEffect(Report)(output))
})

/** What `ping` says about one echo request. */
const ping = Effect.fnUntraced(function* (host: LabHost, to: string, ...options: ReadonlyArray<string>) {
  const lab = yield* Lab
  const { code, stderr, stdout } = yield* lab.attempt(host, ["ping", "-n", "-c", "1", "-W", "1", ...options, to])
  const time = /time=([\d.]+) ms/.exec(stdout)?.[1]
  return { answered: code === 0, output: `${stdout}${stderr}`, ms: time === undefined ? null : Number(time) }
})

const nftCounter = Effect.fnUntraced(function* (name: string) {
  const lab = yield* Lab
  const text = yield* lab.exec("gateway", ["nft", "list", "counter", "inet", "sallyport_sallyport0", name])
  return Number(/packets (\d+)/.exec(text)?.[1])
})

/** By how much the named packet counters have grown over `action`, as soon as all have and stand still, or after 6 s. */
const counted = Effect.fnUntraced(function* <A, E, R>(names: ReadonlyArray<string>, action: Effect.Effect<A, E, R>) {
  const { status } = yield* Town
  const read = Effect.map(status, ({ counters }) =>
    names.map((name) => Object.assign({}, ...Object.values(counters))[name] ?? -1)
  )
  const before = yield* read
  const result = yield* action
  let last: ReadonlyArray<number> = []
  const grown = yield* read.pipe(
    Effect.map((after) => after.map((value, i) => value - before[i]!)),
    Effect.repeat({
      until: (by) => {
        const still = by.every((n, i) => n > 0 && n === last[i])
        last = by
        return still
      },
      schedule: Schedule.spaced("100 millis"),
      times: 60
    })
  )
  return { result, grown: Object.fromEntries(names.map((name, i) => [name, grown[i]!])) }
})

/** Packets that found the queue of the tunnel's device full so far, whosever they were. */
const dropped = Effect.gen(function* () {
  const lab = yield* Lab
  return Number(yield* lab.exec("gateway", ["cat", "/sys/class/net/sallyport0/statistics/tx_dropped"]))
})

const rowOf = Effect.fnUntraced(function* (domain: string) {
  const { status } = yield* Town
  return yield* status.pipe(
    Effect.map((report) => report.mappings.find((row) => row.domain === domain && row.client === "visitor")),
    Effect.repeat({
      until: (row) => row !== undefined && row.state !== "Resolving",
      schedule: Schedule.spaced("50 millis"),
      times: 100
    })
  )
})

/** What all threads of the gateway have computed so far. */
const cpuSeconds = Effect.gen(function* () {
  const { world } = yield* Town
  const stat = readFileSync(`/proc/${world.gateway.process.pid}/stat`, "utf8")
  const [user, system] = stat
    .slice(stat.lastIndexOf(")") + 2)
    .split(" ")
    .slice(11, 13)
  return (Number(user) + Number(system)) / 100
})

/** Connections to the gateway's own port 22 so far. */
const intruders = Effect.gen(function* () {
  const { sshd } = yield* Town
  return (yield* sshd.output).split("\n").filter((line) => line.startsWith("connection from"))
})

/** Everybody is still served: the page comes, by name, over the tunnel. */
const stillServes = Effect.gen(function* () {
  const { status, world } = yield* Town
  const page = yield* world.visitor.retry({ address: yield* world.proxyOf(), every: 100, deadline: 20_000 })
  assert.strictEqual(page.page?.servedBy, inner.origin.v4, JSON.stringify(page.errors))
  assert.strictEqual((yield* status).gateway.workerEpoch, 1)
})

/** Of an hour's TTL, so that the gateway has nothing to find out. */
const known = "known.svc.corp.internal"

/** Another client's questions, three about the known name and three about new ones, while the first one attacks. */
const besideOthers = Effect.fnUntraced(function* (...attacking: ReadonlyArray<string | number>) {
  const lab = yield* Lab
  const { status, world } = yield* Town
  const ask = (name: string) =>
    Effect.map(
      lab.attempt("lan", ["dig", `@${tunnelAddresses.gateway.v4}`, "+time=5", "+tries=1", name]),
      ({ stdout }) => {
        const [status, ms] = [/status: (\w+)/, /Query time: (\d+)/].map((field) => field.exec(stdout)?.[1])
        return { name, status, ms }
      }
    )
  yield* world.nameServer.set({ name: known, a: [inner.origin.v4], aaaa: [], ttl: 3_600 })
  yield* Effect.repeat(ask(known), { until: ({ status }) => status === "NOERROR", times: 20 })
  const toGateway = Effect.map(status, ({ counters }) => counters.dataPlane["outbound.to_gateway"]!)
  const line = yield* watchDnsLine(colleague.v4, tunnelAddresses.client.v4)
  const atFirst = yield* toGateway
  const since = yield* Clock.currentTimeMillis
  const fiber = yield* Effect.forkScoped(attack("client", ...attacking))
  yield* Effect.repeat(toGateway, {
    until: (now) => now >= atFirst + 1_000,
    schedule: Schedule.spaced("50 millis"),
    times: 400
  })
  const before = yield* cpuSeconds
  const answers = yield* Effect.forEach([1, 2, 3, 4, 5, 6], (n) =>
    ask(n % 2 === 0 ? known : `${attacking[0]}${n}.svc.corp.internal`)
  )
  const cpu = (yield* cpuSeconds) - before
  const attacked = yield* Fiber.join(fiber)
  const seconds = ((yield* Clock.currentTimeMillis) - since) / 1_000
  const turns = yield* line.stop
  return { answers, attacked, cpu, seconds, turns }
})

type Siege = Effect.Success<ReturnType<typeof besideOthers>>

/**
 * Each question is answered, new names with an address or NXDOMAIN. Before one about a known name only so many of the
 * attacker's are: those of six turns, and half of those that wait in the gateway's socket, since they are read off it twice
 * as fast as they are answered. That is the one in the middle: another may meet a burst, as when a busy machine catches up,
 * or when answers by TCP that were given long before have waited for their reader.
 */
const assertServedInTurn = (siege: Siege): void => {
  const { answers, turns } = siege
  const told = describeSiege(siege)
  assert.strictEqual(turns.length, answers.length, told)
  for (const { name, status } of answers)
    assert.include(name === known ? ["NOERROR"] : ["NOERROR", "NXDOMAIN"], status, told)
  // What a new name waits for is its lookup, too.
  const ofKnown = turns.filter((_, i) => answers[i]!.name === known)
  const tooMany = ofKnown.map(({ ahead, waiting }) => ahead - 96 - waiting / 2).toSorted((a, b) => a - b)
  assert.isAtMost(tooMany[(tooMany.length - 1) / 2]!, 0, told)
}

const describeSiege = ({ answers, attacked, cpu, seconds, turns }: Siege): string => {
  const each = answers.map(
    ({ ms, name, status }, i) => `${name} ${status} in ${ms} ms after ${turns[i]?.ahead} of ${turns[i]?.waiting}`
  )
  const flood = `${JSON.stringify(attacked)} in ${seconds} s, ${cpu.toFixed(2)} s of CPU meanwhile`
  return [...each, flood].join("; ")
}

layer(town, { excludeTestServices: true, timeout: "60 seconds" })("a gateway under attack", (it) => {
  it.effect("drops packets whose inner source is not the client's own address, in both families, and counts them", () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      const { theirs, wireguard } = yield* Town
      const received = Effect.map(theirs.packets, (packets) => packets.filter((p) => p.direction === "in").length)
      const heard = yield* received
      const foreign = ["100.64.0.77", colleague.v4, "198.51.100.7", colleague.v6]
      for (const address of foreign) {
        const nodad = address.includes(":") ? ["nodad"] : []
        yield* lab.exec("client", ["ip", "address", "add", address, "dev", wireguard.device, ...nodad])
      }
      const { grown, result } = yield* counted(
        ["outbound.source_spoofed"],
        Effect.forEach(foreign, (source) => {
          const gateway = source.includes(":") ? tunnelAddresses.gateway.v6 : tunnelAddresses.gateway.v4
          return ping("client", gateway, "-I", source, "-W", "0.3")
        })
      )
      for (const address of foreign) {
        yield* lab.exec("client", ["ip", "address", "del", address, "dev", wireguard.device])
      }

      assert.deepStrictEqual(
        result.map(({ answered }) => answered),
        [false, false, false, false]
      )
      assert.isAtLeast(grown["outbound.source_spoofed"]!, 4)
      // Not even an answer went to the client whose address was abused.
      assert.strictEqual(yield* received, heard)
      yield* stillServes
    })
  )

  it.effect("never carries packets from one client to another", () =>
    Effect.gen(function* () {
      const { theirs } = yield* Town
      const { grown, result } = yield* counted(
        ["outbound.tunnel_address"],
        Effect.all([ping("client", colleague.v4), ping("client", colleague.v6), ping("client", "100.64.0.200")])
      )

      for (const { output } of result) assert.match(output, /filtered|prohibited/i)
      assert.isAtLeast(grown["outbound.tunnel_address"]!, 3)
      const sources = (yield* theirs.packets).map((p) => ipView(p.bytes)?.source)
      assert.notInclude(sources, tunnelAddresses.client.v4)
      assert.notInclude(sources, tunnelAddresses.client.v6)
    })
  )

  it.effect("keeps the gateway's own services from clients: by tunnel address, by LAN address, by name", () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      const { world } = yield* Town
      // The port is open to the LAN, or this test would prove nothing.
      yield* lab.attempt("lan", ["curl", "-s", "-m", "2", `telnet://${inner.gateway.v4}:22`])
      assert.strictEqual((yield* intruders).length, 1)

      const own = yield* counted(
        ["outbound.gateway_service_denied"],
        Effect.all([
          world.visitor.connect({ address: tunnelAddresses.gateway.v4, port: 22, timeout: 2000 }),
          world.visitor.connect({ address: tunnelAddresses.gateway.v6, port: 22, timeout: 2000 })
        ])
      )
      const direct = yield* counted(
        ["outbound.destination_refused"],
        world.visitor.connect({ address: inner.gateway.v4, port: 22, timeout: 2000 })
      )
      yield* world.nameServer.set({
        name: "own.svc.corp.internal",
        a: [inner.gateway.v4, outer.gateway.v4],
        aaaa: [inner.gateway.v6]
      })
      const named = yield* counted(
        ["outbound.unresolved"],
        Effect.gen(function* () {
          const proxies = [
            yield* world.proxyOf("own.svc.corp.internal"),
            yield* world.proxyOf("own.svc.corp.internal", "AAAA")
          ]
          return yield* Effect.forEach(proxies, (address) =>
            world.visitor.connect({ address, port: 22, timeout: 3000 })
          )
        })
      )

      assert.deepStrictEqual(
        [...own.result, direct.result, ...named.result].map(({ ok }) => ok),
        [false, false, false, false, false]
      )
      assert.isAtLeast(own.grown["outbound.gateway_service_denied"]!, 2)
      assert.isAtLeast(direct.grown["outbound.destination_refused"]!, 1)
      assert.isAtLeast(named.grown["outbound.unresolved"]!, 1)
      assert.match((yield* rowOf("own.svc.corp.internal"))?.reason ?? "", /refused by policy: .*10\.20\.0\.1/)
      assert.strictEqual((yield* intruders).length, 1)
    })
  )

  it.effect(
    "follows no DNS answer to metadata, loopback, link-local, tunnel or proxy addresses, however it is written",
    () =>
      Effect.gen(function* () {
        const { world } = yield* Town
        const answers = {
          metadata: { a: ["169.254.169.254"], aaaa: ["fd00:ec2::254"] },
          loopback: { a: ["127.0.0.1", "127.8.8.8"], aaaa: ["::1"] },
          linklocal: { a: ["169.254.7.7"], aaaa: ["fe80::1"] },
          nowhere: { a: ["0.0.0.0", "255.255.255.255", "224.0.0.1"], aaaa: ["::", "ff02::1"] },
          tunnel: { a: [colleague.v4, "100.64.0.1"], aaaa: [colleague.v6] },
          proxy: { a: ["100.96.0.9"], aaaa: ["fd00:2021:1111:8000::9"] },
          mapped: { a: [], aaaa: ["::ffff:7f00:1", "64:ff9b::7f00:1", "2002:7f00:1::1"] }
        }
        for (const [label, { a, aaaa }] of Object.entries(answers)) {
          yield* world.nameServer.set({ name: `${label}.svc.corp.internal`, a, aaaa })
        }
        const attempts = yield* counted(
          ["outbound.unresolved"],
          Effect.forEach(
            Object.keys(answers),
            (label) =>
              Effect.gen(function* () {
                const domain = `${label}.svc.corp.internal`
                const proxies = [yield* world.proxyOf(domain), yield* world.proxyOf(domain, "AAAA")]
                const connected = yield* Effect.forEach(proxies, (address) =>
                  world.visitor.connect({ address, port: 22, timeout: 3000 })
                )
                return { label, connected: connected.map(({ ok }) => ok), row: yield* rowOf(domain) }
              }),
            { concurrency: 4 }
          )
        )
        const direct = yield* counted(
          ["outbound.destination_refused"],
          world.visitor.connect({ address: "169.254.169.254", port: 80, timeout: 2000 })
        )

        for (const { connected, label, row } of attempts.result) {
          assert.deepStrictEqual(connected, [false, false], label)
          assert.strictEqual(row?.state, "Unresolved", label)
          assert.match(row?.reason ?? "", /refused by policy: /, label)
          assert.deepStrictEqual(row?.addresses, [], label)
        }
        assert.isAtLeast(attempts.grown["outbound.unresolved"]!, 7)
        assert.isFalse(direct.result.ok)
        assert.isAtLeast(direct.grown["outbound.destination_refused"]!, 1)
        assert.strictEqual((yield* intruders).length, 1)
      })
  )

  it.effect("keeps the good address of an answer that also names the gateway, and follows no rebinding to it", () =>
    Effect.gen(function* () {
      const { world } = yield* Town
      const name = "rebind.svc.corp.internal"
      yield* world.nameServer.set({ name, a: [inner.gateway.v4, inner.origin.v4], ttl: 1 })
      const proxy = yield* world.proxyOf(name)
      const before = yield* world.visitor.retry({ address: proxy, every: 100, deadline: 20_000 })
      const addresses = (yield* rowOf(name))?.addresses

      yield* world.nameServer.set({ name, a: [inner.gateway.v4], ttl: 1 })
      const row = yield* world.visitor.connect({ address: proxy, port: 22, timeout: 1000 }).pipe(
        Effect.andThen(rowOf(name)),
        Effect.repeat({
          until: (found) => /refused by policy/.test(found?.reason ?? ""),
          schedule: Schedule.spaced("250 millis"),
          times: 60
        })
      )
      const after = yield* world.visitor.connect({ address: proxy, port: 22, timeout: 1000 })

      assert.strictEqual(before.page?.servedBy, inner.origin.v4)
      assert.deepStrictEqual(addresses, [inner.origin.v4])
      assert.match(row?.reason ?? "", /refused by policy: 10\.20\.0\.1/)
      assert.deepStrictEqual(row?.addresses, [])
      assert.isFalse(after.ok)
      assert.strictEqual((yield* intruders).length, 1)
    })
  )

  it.effect("lets nobody on the LAN into the tunnel without a client's session: firewall and engine each refuse", () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      const { tunnel } = yield* Town
      const { v4 } = tunnelAddresses.client
      yield* lab.exec("lan", ["ip", "route", "replace", `${v4}/32`, "via", inner.gateway.v4, "dev", "inner"])
      const before = yield* nftCounter("to_tunnel_refused")

      const filtered = yield* ping("lan", v4, "-I", inner.origin.v4)
      const refusedByFirewall = (yield* nftCounter("to_tunnel_refused")) - before

      const rule = ["inet", "sallyport_sallyport0", "forward"]
      // The gateway takes such a rule out again within a second: what comes in between meets the engine alone.
      const hole = ["nft", "insert", "rule", ...rule, "oifname", "sallyport0", "accept"]
      const inTheGap = Effect.andThen(lab.exec("gateway", hole), ping("lan", v4, "-I", inner.origin.v4))
      const { grown, result } = yield* counted(["inbound.no_session"], Effect.repeat(inTheGap, { times: 4 }))
      yield* lab.exec("lan", ["ip", "route", "del", `${v4}/32`, "via", inner.gateway.v4])

      assert.isFalse(filtered.answered)
      assert.isAtLeast(refusedByFirewall, 1)
      assert.isFalse(result.answered)
      assert.isAtLeast(grown["inbound.no_session"]!, 1)
      const came = (yield* tunnel.packets).filter((p) => p.direction === "in")
      assert.isFalse(came.some((p) => ipView(p.bytes)?.source === inner.origin.v4))
    })
  )

  it.effect("reads any datagram at its WireGuard port without harm: every length, every type, pure chance", () =>
    Effect.gen(function* () {
      const { grown, result } = yield* counted(
        ["wireguard.malformed", "wireguard.bad_mac1", "wireguard.unknown_receiver"],
        attack("lan", "datagrams", inner.gateway.v4, gatewayPort)
      )

      assert.strictEqual(result.replies, 0)
      assert.isAtLeast(grown["wireguard.malformed"]!, 1500)
      assert.isAtLeast(grown["wireguard.bad_mac1"]!, 1)
      assert.isAtLeast(grown["wireguard.unknown_receiver"]!, 5)
      yield* stillServes
    })
  )

  it.effect("answers garbage at its DNS server with an error or not at all, and goes on answering", () =>
    Effect.gen(function* () {
      const { grown } = yield* counted(
        ["udp_queries", "tcp_connections"],
        attack("client", "dns", tunnelAddresses.gateway.v4)
      )

      assert.isAtLeast(grown["udp_queries"]!, 400)
      assert.isAtLeast(grown["tcp_connections"]!, 15)
      yield* stillServes
    })
  )

  it.effect("sheds what a client asks at 5,000 new names a second, and tells it so; others are answered at once", () =>
    Effect.gen(function* () {
      const { status } = yield* Town
      const measured = ["udp_queries", "questions_refused", "outbound.gateway_rate_limited", "rcode.SERVFAIL"]
      const names = Effect.map(status, (report) => report.mappings.length + report.omitted.mappings)
      const before = yield* names
      const { grown, result } = yield* counted(
        measured,
        besideOthers("questions", tunnelAddresses.gateway.v4, 5_000, 4)
      )
      const made = (yield* names) - before

      assertServedInTurn(result)
      const told = `${describeSiege(result)}, ${JSON.stringify(grown)}, ${made} names`
      const taken = ({ burst, perSecond }: typeof questionLimit | typeof newNameLimit): number =>
        burst + perSecond * (result.seconds + 1)
      const [asked, refused, limited, failed] = measured.map((name) => grown[name]!) as [number, number, number, number]
      // Of 20,000 in 4 s those are 3,500, some 950 of them about new names. The others hear why not, but for those that
      // come faster than the gateway has time for any answer.
      assert.isAtMost(asked - refused, taken(questionLimit) + result.answers.length, told)
      assert.isAtMost(made, taken(newNameLimit) + result.answers.length, told)
      assert.isAtLeast(refused + limited, 1_000, told)
      assert.isAtLeast(failed, refused * 0.9, told)
      yield* stillServes
    })
  )

  it.effect(
    "serves a client's 20,000 questions a second about one name as it can, while others are answered at once",
    () =>
      Effect.gen(function* () {
        const { world } = yield* Town
        yield* world.proxyOf()
        const lost = yield* dropped
        const { grown, result } = yield* counted(
          ["udp_queries"],
          besideOthers("known", tunnelAddresses.gateway.v4, 20_000, 4)
        )
        yield* Effect.logInfo(`beside a flood about a known name: ${describeSiege(result)}, ${JSON.stringify(grown)}`)

        assertServedInTurn(result)
        assert.isAtLeast(grown["udp_queries"]!, 10_000)
        assert.strictEqual(yield* dropped, lost)
        yield* stillServes
      })
  )

  it.effect("answers others at once beside a client's 64 connections full of questions", () =>
    Effect.gen(function* () {
      const { world } = yield* Town
      yield* world.proxyOf()
      const { grown, result } = yield* counted(
        ["tcp_connections"],
        besideOthers("pipelined", tunnelAddresses.gateway.v4, 64, 4)
      )
      yield* Effect.logInfo(`beside full connections: ${describeSiege(result)}, ${JSON.stringify(grown)}`)

      assertServedInTurn(result)
      assert.isAtLeast(grown["tcp_connections"]!, 64)
      yield* stillServes
    })
  )

  it.effect(
    "takes a bounded part of a client's flood at its DNS server, while another's question is answered at once",
    () =>
      Effect.gen(function* () {
        const { grown, result } = yield* counted(
          ["outbound.gateway_rate_limited", "udp_queries"],
          besideOthers("malformed", tunnelAddresses.gateway.v4, 20_000, 4)
        )
        yield* Effect.logInfo(`beside a flood of garbage: ${describeSiege(result)}, ${JSON.stringify(grown)}`)

        assertServedInTurn(result)
        assert.isAtLeast(grown["outbound.gateway_rate_limited"]!, 10_000)
        assert.isBelow(grown["udp_queries"]!, 6_000)
        yield* stillServes
      })
  )

  it.effect(
    "keeps a client's connection in the host's table no longer than its session lives, the host's own too",
    () =>
      Effect.gen(function* () {
        const lab = yield* Lab
        const { world } = yield* Town
        for (const [address, port] of [
          [yield* world.proxyOf(), "80"],
          [tunnelAddresses.gateway.v4, "53"]
        ] as const) {
          const holder = yield* lab.spawn("client", [process.execPath, hostileMain, "hold", address, port])
          assert.strictEqual(yield* Effect.orDie(Queue.take(holder.lines)), "connected")
        }
        const table = yield* lab.exec("gateway", ["cat", "/proc/net/nf_conntrack"])
        const lines = table.split("\n").filter((line) => line.includes(`ESTABLISHED src=${tunnelAddresses.client.v4}`))

        for (const port of [80, 53]) {
          const seconds = lines
            .filter((line) => line.includes(` dport=${port} `))
            .map((line) => Number(/tcp +6 (\d+)/.exec(line)?.[1]))
          assert.isNotEmpty(seconds, table)
          for (const left of seconds) assert.isAtMost(left, 7_500)
        }
      })
  )

  it.effect(
    "holds a bounded number of sessions for a client that scans ports, in bounded memory, here and in the host",
    () =>
      Effect.gen(function* () {
        const lab = yield* Lab
        const { status, world } = yield* Town
        const proxy = yield* world.proxyOf()
        const resident = Effect.sync(
          () =>
            Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${world.gateway.process.pid}/status`, "utf8"))?.[1]) / 1024
        )
        yield* attack("client", "scan", proxy, 1, 20_000, 6000)
        const first = { sessions: (yield* status).counters.dataPlane["sessions.live"]!, mib: yield* resident }
        const { grown } = yield* counted(
          ["sessions.evicted", "outbound.sessions_limited"],
          Effect.gen(function* () {
            yield* attack("client", "scan", proxy, 20_001, 40_000, 6000)
            yield* attack("client", "scan", proxy, 40_001, 60_000, 6000)
          })
        )
        const second = { sessions: (yield* status).counters.dataPlane["sessions.live"]!, mib: yield* resident }
        const tracked = (yield* lab.exec("gateway", ["cat", "/proc/net/nf_conntrack"]))
          .split("\n")
          .filter((line) => line.includes(`src=${tunnelAddresses.client.v4}`)).length
        const nobody = yield* counted(["outbound.unmapped"], attack("client", "scan", "100.96.77.77", 1, 1000, 2000))

        assert.isAbove(first.sessions, 10_000)
        assert.isAtMost(second.sessions, 16_384 + 100)
        assert.isAtLeast(grown["sessions.evicted"]!, 1_000)
        assert.isAtLeast(grown["outbound.sessions_limited"]!, 20_000)
        assert.isBelow(tracked, 32_000)
        assert.isBelow(second.mib - first.mib, 48, JSON.stringify({ first, second }))
        assert.isAtLeast(nobody.grown["outbound.unmapped"]!, 900)
        yield* stillServes
      })
  )

  it.effect(
    "keeps a client's pings while 40,000 handshakes a second come from many sources, each with the right first MAC",
    () =>
      Effect.gen(function* () {
        const lab = yield* Lab
        const { world } = yield* Town
        const { grown, result } = yield* counted(
          ["wireguard.cookie_sent", "wireguard.over_budget", "wireguard.rate_limited"],
          Effect.gen(function* () {
            const flooding = yield* Effect.forkScoped(
              flood({ sources: 500, perSecond: 40_000, seconds: 8, publicKey: world.gateway.publicKey })
            )
            yield* Effect.sleep("1 seconds")
            const pings = yield* lab.exec("client", [
              "ping",
              "-i",
              "0.02",
              "-c",
              "100",
              "-W",
              "2",
              tunnelAddresses.gateway.v4
            ])
            const still = flooding.pollUnsafe() === undefined
            return { pings, still, flooded: yield* Fiber.join(flooding) }
          })
        )

        const received = Number(/ (\d+) received/.exec(result.pings)?.[1])
        assert.isTrue(result.still)
        assert.isAtLeast(received, 98)
        assert.isAtLeast(result.flooded.sent, 40_000)
        // Most of them the system drops for us as soon as we cannot keep up.
        assert.isAtLeast(
          Object.values(grown).reduce((sum, n) => sum + n, 0),
          10_000
        )
      })
  )

  it.effect(
    "lets a newcomer in beside a flood of junk handshakes from many sources, with and without the right first MAC",
    () =>
      Effect.gen(function* () {
        const lab = yield* Lab
        const { newcomerKeys, world } = yield* Town
        const wireguard = yield* connectFromLan(world, newcomerKeys.privateKey, "n", [`${newcomer.v4}/32`])
        const arrive = Effect.gen(function* () {
          // The colleague's route leads to the same address: this packet has to take the newcomer's device.
          const answer = yield* ping("lan", tunnelAddresses.gateway.v4, "-I", wireguard.device, "-W", "12")
          return answer.ms ?? Number.POSITIVE_INFINITY
        })
        const addPeer = (of: WireguardGo) =>
          of.set([
            "peer",
            world.gateway.publicKey,
            "endpoint",
            `${inner.gateway.v4}:${gatewayPort}`,
            "allowed-ips",
            tunnelAddresses.networks.join(",")
          ])
        const forget = lab.exec("lan", ["wg", "set", wireguard.device, "peer", world.gateway.publicKey, "remove"])
        const beside = Effect.fnUntraced(function* (
          counter: string,
          options: { readonly seconds: number; readonly publicKey?: string }
        ) {
          return yield* counted(
            [counter],
            Effect.gen(function* () {
              const flooding = yield* Effect.forkScoped(flood({ sources: 500, perSecond: 4000, ...options }))
              yield* Effect.sleep("1500 millis")
              const ms = yield* arrive
              const still = flooding.pollUnsafe() === undefined
              return { ms, still, flooded: yield* Fiber.join(flooding) }
            })
          )
        })

        const plain = yield* beside("wireguard.bad_mac1", { seconds: 8 })
        yield* forget
        assert.isTrue(plain.result.still)
        // On a machine that has no time for the gateway the first initiation may be lost: the next comes 5 s later.
        assert.isBelow(plain.result.ms, 6_000)
        assert.isAtLeast(plain.grown["wireguard.bad_mac1"]!, 5000)
        assert.strictEqual(plain.result.flooded.replies, 0)
        yield* stillServes

        // Who knows our key can make everybody prove their address, but not those who were quiet until now.
        yield* addPeer(wireguard)
        const cpuBefore = yield* cpuSeconds
        const signed = yield* beside("wireguard.cookie_sent", { seconds: 8, publicKey: world.gateway.publicKey })
        const load = ((yield* cpuSeconds) - cpuBefore) / 8
        assert.isTrue(signed.result.still)
        assert.isBelow(signed.result.ms, 6_000)
        assert.isAtLeast(signed.grown["wireguard.cookie_sent"]!, 5000)
        assert.isBelow(load, 0.6, "cores taken by a flood that knows our key")
        yield* stillServes
        yield* Effect.logInfo(
          `newcomer beside junk: ${plain.result.ms} ms, beside signed junk: ${signed.result.ms} ms (${load} cores)`
        )
      }),
    { timeout: 60_000 }
  )
})
