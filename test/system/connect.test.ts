/** `sallyport connect` on hosts as people have them: routes of others, no IPv6, a gateway that moves, a host that changes. */
import { assert, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import { readFileSync, writeFileSync } from "node:fs"
import { dirname } from "node:path"
import { Lab } from "../../src/lab/demo/Lab.ts"
import { clientConf, tunnelAddresses } from "../../src/lab/demo/tunnel.ts"
import { endpointKept, restartGateway, startWorld, type World } from "../support/labWorld.ts"
import { inPairs } from "../support/inPairs.ts"
import { inLab, inner, outer } from "../support/lab.ts"
import { onlyLine } from "../support/operator.ts"

/** A part of the client's own network, with the gateway in it. */
const around = "192.0.2.0/28"
const device = "sallyport-c0"
const companyNetwork = `  net: { cidr: ${inner.network.v4}, allow: [visitor] }`

const fileOf = (world: World, change: (conf: string) => string = (conf) => conf): string =>
  change(clientConf({ privateKey: world.clientKeys.privateKey, gatewayPublicKey: world.gateway.publicKey }))

const routes = (networks: string) => (conf: string) => conf.replace(/^AllowedIPs.*$/m, `AllowedIPs = ${networks}`)

/** Spawns the client, `wrap` before the command line. */
const connect = Effect.fnUntraced(function* (
  conf: string,
  wrap: ReadonlyArray<string> = [],
  flags: ReadonlyArray<string> = []
) {
  const lab = yield* Lab
  const path = yield* lab.writeFile("connect.conf", conf)
  return yield* lab.spawn("client", [...wrap, ...lab.program("sallyport"), "connect", path, ...flags])
})

/** Waits until a ping through the tunnel is answered. */
const answered = Effect.fnUntraced(function* (address: string, seconds = 20) {
  const lab = yield* Lab
  const ping = lab.attempt("client", ["ping", "-c", "1", "-W", "1", address])
  const result = yield* ping.pipe(
    Effect.repeat({ until: ({ code }) => code === 0, schedule: Schedule.spaced("200 millis"), times: seconds * 5 })
  )
  return result.code === 0
})

/** Packets that this host has routed into the tunnel. */
const intoTunnel = Effect.gen(function* () {
  const lab = yield* Lab
  const text = yield* lab.exec("client", ["ip", "-j", "-s", "link", "show", "dev", device])
  return JSON.parse(text)[0].stats64.tx.packets as number
})

const rulesOfClient = Effect.gen(function* () {
  const lab = yield* Lab
  const v4 = yield* lab.exec("client", ["ip", "-4", "rule", "show"])
  const v6 = yield* lab.exec("client", ["ip", "-6", "rule", "show"])
  return `${v4}${v6}`.split("\n").filter((line) => /^[23][0-9]{2}:|^4[0-9]{2}:/.test(line))
})

inPairs(
  "everything may go through the tunnel, the gateway's own network too, and what others take away comes back",
  () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      const world = yield* startWorld({
        resources: `${companyNetwork}
  outside: { cidr: ${around}, allow: [visitor] }`
      })
      const before = yield* lab.exec("client", ["ip", "route"])
      const client = yield* connect(fileOf(world, routes(`0.0.0.0/0, ::/0, ${around}, 100.64.0.0/10`)))

      assert.isTrue(yield* answered(inner.origin.v4))
      assert.include(yield* lab.exec("client", ["ip", "route"]), before.trim().split("\n")[0]!)
      assert.match(yield* lab.exec("client", ["ip", "route", "get", "198.18.0.1"]), new RegExp(` dev ${device} `))

      yield* lab.exec("client", ["ip", "address", "flush", "dev", device])
      assert.isTrue(yield* answered(inner.origin.v4))
      yield* lab.exec("client", ["ip", "link", "set", device, "down"])
      assert.isTrue(yield* answered(inner.origin.v4))
      for (const rule of (yield* rulesOfClient).filter((line) => line.includes("lookup 1396788313"))) {
        yield* lab.attempt("client", [
          "ip",
          rule.includes("::") ? "-6" : "-4",
          "rule",
          "del",
          "pref",
          rule.split(":")[0]!
        ])
      }
      assert.isTrue(yield* answered(inner.origin.v4))
      yield* lab.exec("client", ["ip", "link", "del", device])
      assert.isTrue(yield* answered(inner.origin.v4))
      assert.match(yield* client.output, /put back on sallyport-c0: .*address 100\.64\.0\.2\/32/)

      const code = yield* client.stop
      assert.deepStrictEqual([code, yield* rulesOfClient], [0, []])
      assert.strictEqual(yield* lab.exec("client", ["ip", "route"]), before)
    }).pipe(inLab)
)

inPairs("a route of somebody else is left as it is, and the one line names it", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    const world = yield* startWorld()
    yield* lab.exec("client", ["ip", "route", "add", "10.99.0.0/16", "via", outer.gateway.v4, "metric", "77"])
    yield* lab.exec("client", ["ip", "-6", "route", "add", "fd99::/48", "via", outer.gateway.v6])
    for (const network of ["10.99.0.0/16", "fd99::/48"]) {
      const path = yield* lab.writeFile("foreign.conf", fileOf(world, routes(`100.64.0.0/10, ${network}`)))
      const result = yield* lab.attempt("client", [...lab.program("sallyport"), "connect", path])
      const line = onlyLine(result)
      assert.include(line, `sallyport: this host has a route to ${network} already (${network} via `)
      assert.match(line, / dev \S+\), which is left as it is — remove that route, or /)
      const family = network.includes(":") ? "-6" : "-4"
      assert.include(yield* lab.exec("client", ["ip", family, "route"]), `${network} via`)
    }
  }).pipe(inLab)
)

inPairs("routes of others win where they are narrower, lose where they are wider, and are all there afterwards", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    const world = yield* startWorld({ resources: companyNetwork })
    const { v4, v6 } = outer.gateway
    for (const [family, network, via] of [
      ["-4", "10.97.5.0/24", v4],
      ["-4", "10.96.0.0/15", v4],
      ["-6", "fd97:0:5::/48", v6],
      ["-6", "fd96::/15", v6]
    ] as const) {
      yield* lab.exec("client", ["ip", family, "route", "add", network, "via", via, "dev", "outer"])
    }
    const routesNow = Effect.all([lab.exec("client", ["ip", "-4", "route"]), lab.exec("client", ["ip", "-6", "route"])])
    const before = yield* routesNow
    const conf = fileOf(world, routes(`100.64.0.0/10, ${inner.network.v4}, 10.97.0.0/16, fd97::/16`))
    const client = yield* connect(conf, [], ["--device", "corp0", "--dns"])
    assert.isTrue(yield* answered(inner.origin.v4))
    const leadsTo = (address: string) =>
      Effect.map(lab.exec("client", ["ip", "route", "get", address]), (text) => / dev (\S+)/.exec(text)?.[1])
    assert.deepStrictEqual(
      yield* Effect.forEach(["10.97.5.1", "10.97.6.1", "10.96.0.1", "fd97:0:5::1", "fd97:0:6::1", "fd96::1"], leadsTo),
      ["outer", "corp0", "outer", "outer", "corp0", "outer"]
    )
    assert.strictEqual(yield* client.stop, 0)
    assert.deepStrictEqual(yield* routesNow, before)
  }).pipe(inLab)
)

inPairs("the host's resolver asks the gateway for the file's domains while connect runs, if it is told to", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    const world = yield* startWorld({ resources: companyNetwork })
    const conf = fileOf(world, (text) =>
      routes(`100.64.0.0/10, ${inner.network.v4}`)(text).replace(/^DNS = .*$/m, "DNS = 100.64.0.1, corp.internal")
    )
    const calls = yield* lab.writeFile("resolvectl.calls", "")
    const fake = yield* lab.writeFile("resolvectl", `#!/bin/sh\necho "$@" >> ${calls}\n`)
    const path = `chmod 755 ${fake}; [ ! -e /usr/bin/resolvectl ] || mount --bind ${fake} /usr/bin/resolvectl; PATH=$PATH:${dirname(fake)} exec "$@"`
    const told = Effect.sync(() => readFileSync(calls, "utf8").trim().split("\n"))
    const client = yield* connect(conf, ["unshare", "--mount", "sh", "-c", path, "sh"], ["--dns"])
    const expected = [`dns ${device} 100.64.0.1`, `domain ${device} corp.internal`, `default-route ${device} no`]
    const first = yield* told.pipe(
      Effect.repeat({ until: (lines) => lines.length >= 3, schedule: Schedule.spaced("200 millis"), times: 100 })
    )
    assert.deepStrictEqual(first.slice(0, 3), expected)
    assert.strictEqual(yield* client.stop, 0)
    assert.strictEqual((yield* told).at(-1), `revert ${device}`)

    const without = `${["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map((bin) => `[ ! -e ${bin}/resolvectl ] || mount --bind /dev/null ${bin}/resolvectl`).join("; ")}; exec "$@"`
    const other = yield* connect(conf, ["unshare", "--mount", "sh", "-c", without, "sh"], ["--dns"])
    assert.isTrue(yield* answered(inner.origin.v4))
    assert.match(
      yield* other.output,
      /--dns does nothing on this host \(.*\): its resolver is left alone; ask 100\.64\.0\.1/
    )
  }).pipe(inLab)
)

inPairs("a client without IPv6 has its tunnel, told in one line, from a file that has IPv6 and in a container", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    const world = yield* startWorld({ resources: companyNetwork })
    for (const name of ["all", "default"]) {
      yield* lab.exec("client", ["sysctl", "-qw", `net.ipv6.conf.${name}.disable_ipv6=1`])
    }
    const sealed = ["unshare", "--mount", "sh", "-c", 'mount --bind -o ro /proc/sys /proc/sys && exec "$@"', "sh"]
    const client = yield* connect(
      fileOf(world, routes(`${tunnelAddresses.networks.join()}, ${inner.network.v4}`)),
      sealed
    )
    assert.isTrue(yield* answered(inner.origin.v4))
    const log = yield* client.output
    assert.strictEqual(log.split("IPv6 is off on this host: the tunnel carries IPv4 only").length, 2, log)

    yield* lab.exec("client", ["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0"])
    assert.isTrue(yield* answered(tunnelAddresses.gateway.v6))
    const later = yield* client.output
    assert.include(later, "IPv6 is on again on this host")
    assert.notInclude(later, "put back")
  }).pipe(inLab)
)

inPairs("a gateway's name that does not resolve yet, and one that moves, are followed", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    const world = yield* startWorld({ resources: companyNetwork })
    const hosts = yield* lab.writeFile("hosts", "127.0.0.1 localhost\n")
    const nsswitch = yield* lab.writeFile("nsswitch", "hosts: files\n")
    const mounted = `mount --bind ${hosts} /etc/hosts && touch /etc/nsswitch.conf && mount --bind ${nsswitch} /etc/nsswitch.conf && exec "$@"`
    const client = yield* connect(
      fileOf(world, (conf) =>
        routes(`100.64.0.0/10, ${inner.network.v4}`)(conf).replace(/^Endpoint = .*:/m, "Endpoint = vpn.test:")
      ),
      ["unshare", "--mount", "sh", "-c", mounted, "sh"]
    )
    const says = (text: string) =>
      client.output.pipe(
        Effect.repeat({ until: (log) => log.includes(text), schedule: Schedule.spaced("200 millis"), times: 60 })
      )
    yield* says("the endpoint vpn.test does not resolve")
    // Nobody is there.
    const nowhere = outer.gateway.v4.replace(/\d+$/, "199")
    writeFileSync(hosts, `${nowhere} vpn.test\n`)
    yield* says("message=connecting")
    writeFileSync(hosts, `${outer.gateway.v4} vpn.test\n`)

    assert.isTrue(yield* answered(inner.origin.v4, 40))
    const log = yield* client.output
    assert.include(log, `no answer from ${nowhere}: trying ${outer.gateway.v4}, an address of vpn.test`)
    assert.strictEqual(log.split("does not resolve").length, 2, log)
  }).pipe(inLab)
)

it.live("a gateway that calls from another address is answered there, past the tunnel", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    const world = yield* startWorld({ resources: companyNetwork })
    yield* connect(fileOf(world, routes(`${around}, 100.64.0.0/10, ${inner.network.v4}`)))
    assert.isTrue(yield* answered(inner.origin.v4))
    yield* endpointKept
    assert.strictEqual(yield* world.gateway.process.stop, 0)
    const other = "192.0.2.9"
    yield* lab.exec("gateway", ["ip", "address", "add", `${other}/24`, "dev", "outer"])
    yield* lab.exec("gateway", ["ip", "address", "del", `${outer.gateway.v4}/24`, "dev", "outer"])
    yield* lab.attempt("gateway", ["ip", "address", "add", `${other}/24`, "dev", "outer"])
    const before = yield* intoTunnel
    yield* restartGateway(world, { resources: companyNetwork })

    assert.isTrue(yield* answered(inner.origin.v4))
    assert.notInclude(yield* lab.exec("client", ["ip", "route", "get", other]), device)
    // What went round before the rules had followed, and the pings.
    assert.isBelow((yield* intoTunnel) - before, 300)
  }).pipe(inLab)
)
