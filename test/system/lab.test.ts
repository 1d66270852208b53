import { assert, it } from "@effect/vitest"
import { Effect, Schedule, Schema } from "effect"
import { existsSync, mkdirSync } from "node:fs"
import { tmpdir } from "node:os"
import { startNameServer, startOrigins, startVisitor } from "../../src/lab/demo/company.ts"
import { Lab } from "../../src/lab/demo/Lab.ts"
import { dnsHeader, handshakeMessage, ipView, ports, tcpData, udpData } from "../../src/lab/demo/packets.ts"
import { attemptCommand, runCommand } from "../../layers/lab/command.ts"
import { startProcess } from "../../layers/lab/process.ts"
import { startDnsmasq } from "../support/dnsmasq.ts"
import { flood } from "../support/flood.ts"
import { isRunning } from "../support/isRunning.ts"
import { blackHoleDns, curl, dig, inLab, inner, outer } from "../support/lab.ts"
import { startWireguardGo } from "../support/wireguardGo.ts"

it.live("gives each host its own network, joined by two wires in both families", () =>
  Effect.gen(function* () {
    const lab = yield* Lab

    yield* lab.exec("client", ["ping", "-c", "1", "-W", "2", outer.gateway.v4])
    yield* lab.exec("client", ["ping", "-c", "1", "-W", "2", outer.gateway.v6])
    yield* lab.exec("gateway", ["ping", "-c", "1", "-W", "2", inner.otherOrigin.v4])
    yield* lab.exec("gateway", ["ping", "-c", "1", "-W", "2", inner.dns.v6])
    const unreachable = yield* lab.attempt("client", ["ping", "-c", "1", "-W", "1", inner.origin.v4])

    assert.notStrictEqual(unreachable.code, 0)
  }).pipe(inLab)
)

it.live("leaves nothing behind: namespaces, files and processes are gone when the scope closes", () =>
  Effect.gen(function* () {
    const left = yield* Effect.gen(function* () {
      const lab = yield* Lab
      const forgotten = yield* lab.exec("lan", ["sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!"])
      const child = yield* lab.spawn("client", ["sleep", "600"])
      return { id: lab.id, directory: lab.directory, pids: [Number(forgotten), child.pid] }
    }).pipe(inLab)

    const namespaces = yield* runCommand(["ip", "netns", "list"])
    assert.isFalse(namespaces.includes(left.id))
    assert.isFalse(existsSync(left.directory))
    for (const pid of left.pids) assert.isFalse(isRunning(pid), `process ${pid} is still there`)
  })
)

it.live("removes what a killed lab left, and nothing of a living one", () =>
  Effect.gen(function* () {
    const dead = "sallyport-lab-99999999-0-client"
    const living = `sallyport-lab-${process.pid}-999-client`
    const directory = `${tmpdir()}/sallyport-lab-99999999-0-abc`
    yield* Effect.acquireRelease(
      Effect.andThen(runCommand(["ip", "netns", "add", dead]), runCommand(["ip", "netns", "add", living])),
      () =>
        Effect.andThen(
          attemptCommand(["ip", "netns", "delete", dead]),
          attemptCommand(["ip", "netns", "delete", living])
        ).pipe(Effect.ignore)
    )
    mkdirSync(directory)
    const gateway = yield* startProcess(["ip", "netns", "exec", dead, "sleep", "600"])
    yield* runCommand(["ip", "netns", "exec", dead, "true"])

    const namespaces = yield* Effect.andThen(Lab, runCommand(["ip", "netns", "list"])).pipe(inLab)

    assert.notInclude(namespaces, dead)
    assert.include(namespaces, living)
    assert.isFalse(existsSync(directory))
    assert.strictEqual(yield* gateway.exit, 128 + 9)
  }).pipe(Effect.scoped)
)

it.live("has a name server that answers, changes, keeps silent, refuses and goes away", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    const server = yield* startNameServer
    const ask = (...parameters: ReadonlyArray<string>) =>
      Effect.map(
        lab.attempt("gateway", ["dig", `@${inner.dns.v4}`, "+time=1", "+tries=1", ...parameters], {
          timeout: "15 seconds"
        }),
        (result) => `${result.stdout}${result.stderr}`
      )

    yield* server.set({ name: "app.corp.internal", a: [inner.origin.v4], aaaa: [inner.origin.v6], ttl: 5 })
    assert.match(yield* ask("app.corp.internal", "A"), /app\.corp\.internal\.\s+5\s+IN\s+A\s+10\.20\.0\.10/)
    assert.match(yield* ask("+short", "app.corp.internal", "AAAA"), /^fd5a:20::10$/m)
    assert.match(yield* ask("other.corp.internal"), /NXDOMAIN/)
    yield* server.set({ name: "app.corp.internal", a: [inner.otherOrigin.v4], ttl: 5 })
    assert.match(yield* ask("+short", "app.corp.internal", "A"), /^10\.20\.0\.20$/m)
    yield* server.set({ mode: "servfail" })
    assert.match(yield* ask("app.corp.internal"), /SERVFAIL/)
    yield* server.set({ mode: "silent" })
    assert.match(yield* ask("app.corp.internal"), /timed out/)
    yield* server.set({ mode: "closed" })
    assert.match(yield* ask("app.corp.internal"), /connection refused/)
    yield* server.set({ mode: "answer" })
    assert.match(yield* ask("+short", "app.corp.internal", "A"), /^10\.20\.0\.20$/m)
    assert.isAtLeast((yield* server.queries)["app.corp.internal 1"] ?? 0, 5)
  }).pipe(inLab)
)

it.live("sees, with the kernel's time stamps, what an independent WireGuard carries through the lab", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    const gatewayKeys = yield* lab.keyPair
    const clientKeys = yield* lab.keyPair
    const id = lab.id.split("-").slice(-2).join("")
    const tunnel = { gateway: "100.64.0.1", client: "100.64.0.2" }
    const outside = yield* lab.capture("client")
    const lan = yield* lab.capture("lan", { devices: ["inner"] })
    yield* lab.exec("gateway", ["sysctl", "-qw", "net.ipv4.ip_forward=1"])
    yield* lab.exec("gateway", ["nft", "-f", "-"], {
      input:
        "table ip nat {\n chain out {\n type nat hook postrouting priority 100;\n oifname inner masquerade\n }\n}\n"
    })
    yield* startWireguardGo({
      host: "gateway",
      device: `g${id}`,
      privateKey: gatewayKeys.privateKey,
      listenPort: 51820,
      addresses: [`${tunnel.gateway}/32`],
      routes: [`${tunnel.client}/32`],
      peers: [{ publicKey: clientKeys.publicKey, allowedIps: [`${tunnel.client}/32`] }]
    })
    const client = yield* startWireguardGo({
      host: "client",
      device: `c${id}`,
      privateKey: clientKeys.privateKey,
      addresses: [`${tunnel.client}/32`],
      routes: [inner.network.v4],
      peers: [
        { publicKey: gatewayKeys.publicKey, allowedIps: [inner.network.v4], endpoint: `${outer.gateway.v4}:51820` }
      ]
    })
    const server = yield* startNameServer
    yield* server.set({ name: "app.corp.internal", a: [inner.origin.v4] })
    yield* startOrigins
    const visitor = yield* startVisitor()

    const answer = yield* visitor.resolve({ server: inner.dns.v4, name: "app.corp.internal", type: "A" })
    const page = yield* visitor.get({ address: inner.origin.v4, path: "/bytes/3000000", timeout: 30_000 })
    const upload = yield* visitor.upload({ address: inner.origin.v4, bytes: 1_000_000, timeout: 30_000 })
    const echo = yield* visitor.echo({ address: inner.origin.v4, count: 50, size: 1200 })
    yield* visitor.openDrip("old", inner.origin.v4)

    assert.deepStrictEqual(answer.addresses, [inner.origin.v4])
    assert.strictEqual(page.bytes, 3_000_000)
    assert.strictEqual(page.sha256, page.expected)
    assert.strictEqual(page.servedBy, inner.origin.v4)
    assert.deepStrictEqual({ ...upload, sha256: upload.sent }, upload)
    assert.deepStrictEqual(echo, { sent: 50, received: 50 })
    assert.isAbove(yield* client.latestHandshake(gatewayKeys.publicKey), 0)

    const initiation = yield* outside.first((p) => p.device === "outer" && handshakeMessage(p) === 1, {
      timeout: "20 seconds"
    })
    const response = yield* outside.first((p) => p.device === "outer" && handshakeMessage(p) === 2, {
      timeout: "20 seconds"
    })
    const query = yield* outside.first(
      (p) => {
        const ip = ipView(p.bytes)
        return (
          p.device === client.device &&
          ip !== undefined &&
          ports(ip)?.to === 53 &&
          dnsHeader(udpData(ip))?.id === answer.id
        )
      },
      { timeout: "20 seconds" }
    )
    const firstByte = yield* lan.first(
      (p) => {
        const ip = ipView(p.bytes)
        return ip !== undefined && ip.source === inner.origin.v4 && tcpData(ip).length > 0
      },
      { timeout: "20 seconds" }
    )
    assert.isTrue(initiation !== null && response !== null && query !== null && firstByte !== null)
    assert.isTrue(query!.at <= initiation!.at && initiation!.at < response!.at && response!.at < firstByte!.at)
    assert.isBelow(response!.at - initiation!.at, 1000)
    assert.deepStrictEqual([query!.direction, response!.direction, firstByte!.direction], ["out", "in", "out"])
    assert.strictEqual(yield* lan.lost, 0)
    const drip = yield* visitor.readDrip("old")
    assert.isNull(drip.ended)
  }).pipe(inLab)
)

it.live("has the foreign programs of the system tests: dnsmasq, dig, curl, a flood from many addresses", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    const names = { "app.corp.internal": [inner.origin.v4, inner.origin.v6] }
    const server = yield* startDnsmasq({ names })
    yield* startOrigins
    const packets = yield* lab.capture("gateway", { devices: ["outer"] })

    assert.deepStrictEqual(yield* dig("gateway", inner.dns.v4, "app.corp.internal", "A"), [inner.origin.v4])
    assert.deepStrictEqual(yield* dig("gateway", inner.dns.v6, "app.corp.internal", "AAAA"), [inner.origin.v6])
    yield* blackHoleDns(true)
    assert.deepStrictEqual(yield* dig("gateway", inner.dns.v4, "app.corp.internal", "A"), [])
    yield* blackHoleDns(false)
    assert.deepStrictEqual(yield* dig("gateway", inner.dns.v4, "app.corp.internal", "A"), [inner.origin.v4])
    yield* server.stop
    assert.deepStrictEqual(yield* dig("gateway", inner.dns.v4, "app.corp.internal", "A"), [])

    const page = yield* curl("gateway", `http://${inner.origin.v4}/bytes/100000`)
    const refused = yield* curl("gateway", `http://${inner.dns.v4}/`)
    assert.deepStrictEqual([page.exitcode, page.http_code, page.size_download], [0, 200, 100_000])
    assert.strictEqual(refused.exitcode, 7)

    const { sent } = yield* flood({ sources: 50, perSecond: 500, seconds: 1 })
    // The capture runs behind.
    const arrived = yield* packets.packets.pipe(
      Effect.map((all) => all.filter((p) => p.direction === "in" && handshakeMessage(p) === 1)),
      Effect.repeat({ until: ({ length }) => length >= sent, schedule: Schedule.spaced("50 millis"), times: 40 })
    )
    assert.isAbove(sent, 300)
    assert.isAtLeast(arrived.length, sent * 0.95)
    assert.strictEqual(new Set(arrived.map((p) => ipView(p.bytes)?.source)).size, 50)
  }).pipe(inLab)
)

it.live("turns a command that fails, hangs or does not exist into one line that names it", () =>
  Effect.gen(function* () {
    const lab = yield* Lab

    const failed = yield* Effect.flip(lab.exec("client", ["ip", "link", "show", "nothing0"]))
    const hung = yield* Effect.flip(lab.exec("client", ["sleep", "60"], { timeout: "200 millis" }))
    const missing = yield* Effect.flip(lab.exec("client", ["no-such-tool"]))

    assert.match(failed.message, /ip link show nothing0" ended with code 1: .*does not exist/)
    assert.match(hung.message, /no end of ".*sleep 60" within 200 ms/)
    assert.match(missing.message, /no-such-tool/)
    for (const error of [failed, hung, missing])
      assert.isTrue(Schema.is(Schema.String)(error.message) && !error.message.includes("\n"))
  }).pipe(inLab)
)
