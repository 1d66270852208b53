/** Hosts with less, or with something else, than a gateway would like: no IPv6, addresses of its ranges, its ports. */
import { assert } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import { fileURLToPath } from "node:url"
import { startNameServer, startOrigins } from "../../src/lab/demo/company.ts"
import { Lab } from "../../src/lab/demo/Lab.ts"
import { statusAt } from "../../src/lab/demo/statusAt.ts"
import { gatewayPort, tunnelAddresses } from "../../src/lab/demo/tunnel.ts"
import { inPairs } from "../support/inPairs.ts"
import { curl, dig, inLab, inner, outer } from "../support/lab.ts"
import { appName, connectWireguardGo, startWorld } from "../support/labWorld.ts"
import { says, startPortal, startPortalClient, startPortalGateway } from "../support/portalLab.ts"

const dns = tunnelAddresses.gateway.v4
const withoutSockets = fileURLToPath(new URL("scripts/withoutIpv6Sockets.ts", import.meta.url))
/** As in a container: what /proc/sys says stays. */
const readOnlySettings = ["unshare", "--mount", "sh", "-c", 'mount --bind -o ro /proc/sys /proc/sys && exec "$@"', "sh"]

const eventually = <A, E, R>(look: Effect.Effect<A, E, R>, holds: (value: A) => boolean) =>
  look.pipe(
    Effect.repeat({ until: holds, schedule: Schedule.spaced("200 millis") }),
    Effect.timeout("20 seconds"),
    Effect.orDie
  )

/** All that a program may ask for at its first use of a name; then one ping, by the family that it was given. */
const firstPing = Effect.fnUntraced(function* (name: string) {
  const lab = yield* Lab
  const [six, four] = yield* Effect.all([dig("client", dns, name, "AAAA"), dig("client", dns, name, "A")], {
    concurrency: 2
  })
  const { stdout } = yield* lab.attempt("client", ["ping", "-c", "1", "-W", "3", six[0] ?? four[0] ?? "none"])
  return { six: six.length, four: four.length, replies: Number(/(\d) received/.exec(stdout)?.[1] ?? 0) }
})

inPairs(
  "on a host without IPv6 and with read-only settings, names work by IPv4 at their first use, which status explains",
  () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      yield* lab.exec("gateway", [
        "sysctl",
        "-qw",
        "net.ipv6.conf.all.disable_ipv6=1",
        "net.ipv6.conf.default.disable_ipv6=1",
        "net.ipv4.ip_forward=1"
      ])
      const world = yield* startWorld({ program: [...readOnlySettings, ...lab.program("sallyport")] })
      yield* connectWireguardGo(world)

      const first = yield* firstPing(appName)
      const { ipv6 } = yield* world.gateway.status
      const log = yield* world.gateway.process.output

      assert.deepStrictEqual(first, { six: 0, four: 4, replies: 1 })
      assert.match(ipv6?.device?.why ?? "", /IPv6 is off on this host.*\/proc\/sys is read-only/)
      assert.strictEqual(log.match(/IPv6/g)?.length, 1, log)
    }).pipe(inLab)
)

inPairs("on a kernel without sockets of IPv6 it is the same, and a DNS server there is passed over", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    yield* lab.exec("gateway", ["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"])
    const world = yield* startWorld({
      program: [process.execPath, withoutSockets, ...lab.program("sallyport")],
      resolvers: [`[${inner.dns.v6}]`, inner.dns.v4]
    })
    yield* connectWireguardGo(world)

    assert.deepStrictEqual(yield* firstPing(appName), { six: 0, four: 4, replies: 1 })
    const { ipv6 } = yield* world.gateway.status
    assert.match(ipv6?.sockets?.why ?? "", /clients cannot come by IPv6: the kernel has no IPv6 \(EAFNOSUPPORT\)/)
  }).pipe(inLab)
)

inPairs("clients come by IPv6 as soon as whoever had the port there has left it", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    const holder = `require("dgram").createSocket({ type: "udp6", ipv6Only: true }).bind(${gatewayPort})`
    const other = yield* lab.spawn("gateway", [process.execPath, "-e", holder])
    yield* eventually(lab.exec("gateway", ["ss", "-Hlun"]), (sockets) => sockets.includes(`:${gatewayPort}`))
    const world = yield* startWorld()
    const wireguard = yield* connectWireguardGo(world)
    const first = yield* world.gateway.status
    yield* firstPing(appName)

    yield* other.kill
    const then = yield* eventually(world.gateway.status, ({ ipv6 }) => ipv6?.sockets === null)
    yield* wireguard.set(["peer", world.gateway.publicKey, "endpoint", `[${outer.gateway.v6}]:${gatewayPort}`])
    yield* eventually(
      Effect.andThen(firstPing(appName), world.gateway.status),
      ({ clients }) => clients[0]?.endpoint?.startsWith(`[${outer.client.v6}]`) === true
    )

    assert.match(first.ipv6?.sockets?.why ?? "", /clients cannot come by IPv6: UDP port 51820 is taken \(IPv6\)/)
    assert.strictEqual(then.counters.dataPlane["worker.restarts"], 0)
  }).pipe(inLab)
)

inPairs("an IPv6 route that comes late, and goes again, is followed: names and packets", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    for (const device of ["inner", "outer"]) yield* lab.exec("gateway", ["ip", "-6", "address", "flush", "dev", device])
    const world = yield* startWorld()
    yield* connectWireguardGo(world)
    const addresses = dig("client", dns, appName, "AAAA")

    const first = yield* firstPing(appName)
    const { stdout } = yield* lab.attempt("client", ["ping", "-c", "1", "-W", "3", "fd00:2021:1111:8000::4"])
    yield* lab.exec("gateway", ["ip", "address", "add", `${inner.gateway.v6}/64`, "dev", "inner", "nodad"])
    const [proxy] = yield* eventually(addresses, (all) => all.length > 0)
    const page = yield* eventually(curl("client", `http://[${proxy}]/`), ({ exitcode }) => exitcode === 0)
    yield* lab.exec("gateway", ["ip", "-6", "address", "flush", "dev", "inner"])
    yield* eventually(addresses, (all) => all.length === 0)
    const gone = yield* curl("client", `http://[${proxy}]/`)
    const { ipv6 } = yield* world.gateway.status

    assert.deepStrictEqual(first, { six: 0, four: 4, replies: 1 })
    assert.match(stdout, /From fd00:2021:1111:8000::4 .*Destination unreachable/)
    assert.strictEqual(page.http_code, 200)
    // Told at once, not found out by waiting.
    assert.strictEqual(gone.exitcode, 7)
    assert.isBelow(gone.time_total, 2)
    assert.match(ipv6?.wayOut?.why ?? "", /IPv6 has no way out of this host/)
  }).pipe(inLab)
)

inPairs("a name with IPv4 only works at its first use where the host has IPv6, too", () =>
  Effect.gen(function* () {
    const world = yield* startWorld({
      resources: `  all: { name: "*.corp.internal", resolver: corp, allow: [visitor] }`
    })
    yield* world.nameServer.set({ name: "old.corp.internal", a: [inner.origin.v4], aaaa: [], ttl: 5 })
    yield* connectWireguardGo(world)

    assert.deepStrictEqual(yield* firstPing("old.corp.internal"), { six: 0, four: 4, replies: 1 })
    assert.lengthOf(yield* dig("client", dns, appName, "AAAA"), 4)
  }).pipe(inLab)
)

inPairs("a portal's gateway on a host without IPv6 and with read-only settings serves its clients by IPv4", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    yield* lab.exec("gateway", ["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv4.ip_forward=1"])
    const nameServer = yield* startNameServer
    yield* startOrigins
    yield* nameServer.set({ name: appName, a: [inner.origin.v4], aaaa: [inner.origin.v6], ttl: 60 })
    yield* startPortal(`  web: { name: "*.corp.internal" }`)
    const gateway = yield* startPortalGateway({ companyDns: true, wrap: readOnlySettings })
    yield* says(gateway.output, "message=ready")
    const client = yield* startPortalClient()
    yield* says(client.output, "message=ready")

    const [proxy4 = "none"] = yield* dig("client", "100.100.111.1", "+time=6", appName)
    const [proxy6 = "none"] = yield* dig("client", "100.100.111.1", "+time=6", appName, "AAAA")
    const page = yield* curl("client", `http://${proxy4}/`)
    const gone = yield* curl("client", `http://[${proxy6}]/`)
    const { ipv6 } = yield* statusAt(lab, `${lab.directory}/gateway.sock`)

    assert.strictEqual(page.http_code, 200)
    // A portal's client chooses the name's addresses by itself.
    assert.strictEqual(gone.exitcode, 7)
    // Told, and not given up on.
    assert.isBelow(gone.time_total, 10)
    yield* says(client.output, "connected, direct")
    assert.match(ipv6?.device?.why ?? "", /IPv6 is off on this host/)
  }).pipe(inLab)
)

inPairs("a portal's gateway runs on an uplink of its own range: host, portal, DNS and clients get through", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    const [own, beside] = ["100.70.1.2", "100.70.1.9"]
    const onUplink = (host: "gateway" | "lan", address: string) =>
      lab.exec(host, ["ip", "address", "add", `${address}/24`, "dev", "inner"])
    yield* onUplink("gateway", own)
    yield* onUplink("lan", beside)
    yield* lab.exec("lan", ["ip", "route", "add", "default", "via", own])
    const nameServer = yield* startNameServer
    yield* startOrigins
    yield* nameServer.set({ name: appName, a: [beside], aaaa: [], ttl: 60 })
    yield* startPortal(`  web: { name: "*.corp.internal" }
  net: { cidr: ${inner.network.v4} }`)
    const gateway = yield* startPortalGateway({ companyDns: true })
    yield* says(gateway.output, "message=ready")
    const client = yield* startPortalClient()
    yield* says(client.output, "connected, direct")
    const socket = `${lab.directory}/gateway.sock`
    const pings = (host: "client" | "lan", address: string) => lab.exec(host, ["ping", "-c", "1", "-W", "5", address])

    const host = yield* pings("lan", own)
    const network = yield* pings("client", inner.origin.v4)
    const [proxy = "none"] = yield* dig("client", "100.100.111.1", "+time=6", appName)
    const name = yield* pings("client", proxy)
    const before = yield* statusAt(lab, socket)
    const { tunnel4 } = before.clients[0]!
    yield* lab.exec("gateway", ["ip", "route", "add", `${tunnel4}/32`, "via", beside])
    const after = yield* eventually(statusAt(lab, socket), ({ foreignNetworks }) => foreignNetworks?.length === 2)

    for (const ping of [host, network, name]) assert.include(ping, "1 received")
    const uplink = { network: "100.70.1.0/24", who: "the host's route 100.70.1.0/24 dev inner", clients: [] }
    assert.deepStrictEqual(before.foreignNetworks, [uplink])
    // A route that came while the gateway runs takes the client's replies: it is named.
    assert.deepStrictEqual(
      after.foreignNetworks?.map(({ clients, network }) => [network, clients.length]),
      [
        ["100.70.1.0/24", 0],
        [`${tunnel4}/32`, 1]
      ]
    )
    yield* says(gateway.output, `gets no replies at ${tunnel4}`)
  }).pipe(inLab)
)

inPairs(
  "WireGuard at port 53, beside a VPN of the host, shares it with the tunnel's DNS; who else has it is told",
  () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      // A VPN of the host that takes everything but what is marked, and leads nowhere.
      const vpn = [
        "ip rule add fwmark 0xca6c lookup main priority 99",
        "ip rule add to 192.0.2.0/24 lookup 99 priority 100",
        "ip route add blackhole default table 99"
      ]
      yield* lab.exec("gateway", ["sh", "-ec", vpn.join("\n")])
      const world = yield* startWorld({ more: "listen: 53\nfwmark: 0xca6c" })
      yield* connectWireguardGo(world, { endpoint: `${outer.gateway.v4}:53` })
      const page = yield* curl("client", `http://${yield* world.proxyOf()}/`)
      assert.strictEqual(page.http_code, 200)
      yield* world.gateway.process.stop
      yield* lab.spawn("gateway", [
        "dnsmasq",
        "-k",
        "--no-resolv",
        "--pid-file=",
        "--bind-interfaces",
        "--listen-address=127.0.0.53"
      ])
      yield* eventually(lab.exec("gateway", ["ss", "-Hlun"]), (sockets) => sockets.includes("127.0.0.53:53"))
      const again = yield* lab.attempt("gateway", [
        ...lab.program("sallyport"),
        "up",
        "--config",
        world.gateway.configPath
      ])
      assert.include(again.stderr, 'UDP port 53 is taken (IPv4): find its owner with "ss -lunp sport = :53"')
    }).pipe(inLab)
)
