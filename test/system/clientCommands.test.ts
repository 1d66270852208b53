/** The commands about clients as an operator uses them: beside a running gateway, for devices that connect with what they print. */
import { assert } from "@effect/vitest"
import { Effect, Result, Schedule } from "effect"
import { chmodSync, readFileSync } from "node:fs"
import { parseWireguardConf } from "../../src/config/wireguardConf.ts"
import { Lab } from "../../src/lab/demo/Lab.ts"
import { tunnelAddresses } from "../../src/lab/demo/tunnel.ts"
import { appName, startWorld, type World } from "../support/labWorld.ts"
import { inPairs } from "../support/inPairs.ts"
import { inLab, inner, outer } from "../support/lab.ts"
import { readQr } from "../support/readQr.ts"
import { startWireguardGo } from "../support/wireguardGo.ts"

/** Any key will do for a client that never comes. */
const someKey = "BKvcnKpFBAl+nNGYZdLBWaVxfFpxZhBd9s1VmmHRBhY="

const startCompany = startWorld({
  clients: `  spare: { public_key: "${someKey}", groups: [phones] }`,
  resources: `  intranet: { name: ${appName}, resolver: corp, allow: [visitor, phones] }
  lan: { cidr: ${inner.network.v4}, allow: [phones] }`,
  more: "search: [corp.internal]\nzones: { lab.example.net: corp }"
})

const sallyport = Effect.fnUntraced(function* (world: World, ...words: ReadonlyArray<string>) {
  const lab = yield* Lab
  const command = [...lab.program("sallyport"), ...words, "--config", world.gateway.configPath]
  const result = yield* lab.attempt("gateway", command, { timeout: "20 seconds" })
  assert.strictEqual(result.code, 0, `${words.join(" ")}: ${result.stderr}`)
  return result
})

const namesOf = (world: World) => Effect.map(world.gateway.status, ({ clients }) => clients.map(({ name }) => name))

/** A device of this lab alone: wireguard-go's control sockets share one directory. */
const deviceOf = (lab: Lab["Service"]): string => {
  const [, , processId, serial] = lab.id.split("-")
  return `wg${processId}x${serial}`
}

inPairs("a phone connects with the QR code that client add prints, and is cut within a second when it is removed", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    const world = yield* startCompany
    const { visitor } = world
    const device = deviceOf(lab)

    const added = yield* sallyport(world, "client", "add", "phone", "--group", "phones", "--preshared-key", "--qr")
    const scanned = readQr(added.stdout) ?? ""
    const conf = yield* Effect.fromResult(parseWireguardConf(scanned, "phone"))
    // What wg-quick leaves to wg is set as it was printed.
    const path = yield* lab.writeFile(`${device}.conf`, `${scanned}\n`)
    const stripped = yield* lab.writeFile("stripped", yield* lab.exec("client", ["wg-quick", "strip", path]))
    const wireguard = yield* startWireguardGo({
      host: "client",
      device,
      privateKey: conf.privateKey!,
      addresses: conf.addresses.map(({ address, prefix }) => `${address}/${prefix}`),
      routes: conf.peer.allowedIps,
      mtu: conf.mtu!,
      peers: []
    })
    yield* lab.exec("client", ["wg", "setconf", device, stripped])
    const name = yield* world.proxyOf()
    const pages = [yield* visitor.get({ address: name }), yield* visitor.get({ address: inner.origin.v4 })]
    const handshake = yield* wireguard.latestHandshake(world.gateway.publicKey)
    const listed = yield* sallyport(world, "client", "list")
    const shown = yield* sallyport(world, "client", "show", "phone")
    const asked = yield* sallyport(world, "status", "phone")

    yield* visitor.openDrip("name", name)
    yield* visitor.openDrip("network", inner.origin.v4)
    const lines = Effect.forEach(["name", "network"], (id) => Effect.map(visitor.readDrip(id), (drip) => drip.lines))
    yield* Effect.repeat(lines, {
      until: (counts) => counts.every((count) => count > 5),
      schedule: Schedule.spaced("100 millis"),
      times: 100
    })
    const removed = yield* sallyport(world, "client", "remove", "phone")
    yield* Effect.sleep("1 second")
    const [aSecondLater, later] = [yield* lines, yield* Effect.andThen(Effect.sleep("1 second"), lines)]

    assert.deepStrictEqual(
      pages.map((page) => page.servedBy),
      [inner.origin.v4, inner.origin.v4]
    )
    assert.isAbove(handshake, 0)
    assert.match(added.stderr, /^phone is added to \S+ as 100\.\S+; it may reach intranet lan$/m)
    assert.match(added.stderr, /^the running gateway has taken the change$/m)
    assert.match(listed.stdout, /^phone +100\.\S+ +phones +\S{44}$/m)
    assert.match(shown.stdout, /^lan +10\.20\.0\.0\/24 +all +-$/m)
    assert.include(asked.stdout, "phone")
    assert.match(removed.stdout, /^phone is removed from \S+\nthe running gateway has taken the change$/m)
    assert.deepStrictEqual(later, aSecondLater, "nothing is carried for a client that is removed")
    assert.deepStrictEqual(yield* namesOf(world), ["visitor", "spare"])
  }).pipe(inLab)
)

inPairs("two clients that are added at once are both let in, with the file that add has written", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    const world = yield* startCompany
    const out = `${lab.directory}/laptop.conf`
    yield* Effect.all(
      [
        sallyport(world, "client", "add", "laptop", "--group", "phones", "--out", out),
        sallyport(world, "client", "add", "other", "--public-key", someKey.replace("B", "C"))
      ],
      { concurrency: 2 }
    )
    const clients = yield* namesOf(world)
    const client = yield* lab.spawn("client", [...lab.program("sallyport"), "connect", out, "--device", "corp0"])
    const ping = lab.attempt("client", ["ping", "-c", "1", "-W", "1", inner.origin.v4])
    const answered = yield* ping.pipe(
      Effect.repeat({ until: ({ code }) => code === 0, schedule: Schedule.spaced("200 millis"), times: 100 })
    )
    const page = yield* world.visitor.get({ address: yield* world.proxyOf() })

    assert.sameMembers(clients, ["visitor", "spare", "laptop", "other"])
    assert.strictEqual(answered.code, 0, yield* client.output)
    assert.strictEqual(page.servedBy, inner.origin.v4)
  }).pipe(inLab)
)

inPairs("wg-quick tells systemd-resolved what the file for split DNS says, and takes it back", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    const world = yield* startCompany
    const device = deviceOf(lab)
    const { stdout } = yield* sallyport(world, "client-config", "visitor", "--dns", "split")
    const conf = stdout.replace(/<the private key .*>/, world.clientKeys.privateKey)
    const path = yield* lab.writeFile(`${device}.conf`, conf)
    const calls = yield* lab.writeFile("calls", "")
    const fake = yield* lab.writeFile("resolvectl", `#!/bin/sh\necho "$@" >> ${calls}\n`)
    chmodSync(fake, 0o755)
    const wgQuick = (verb: string) =>
      lab.exec("client", ["env", `PATH=${lab.directory}:${process.env["PATH"]}`, "wg-quick", verb, path], {
        timeout: "20 seconds"
      })
    yield* Effect.acquireRelease(wgQuick("up"), () => Effect.ignore(wgQuick("down")))
    const page = yield* world.visitor.get({ address: yield* world.proxyOf() })
    yield* wgQuick("down")

    assert.strictEqual(page.servedBy, inner.origin.v4)
    assert.isTrue(Result.isSuccess(parseWireguardConf(conf, "split.conf")))
    assert.deepStrictEqual(readFileSync(calls, "utf8").trim().split("\n"), [
      `dns ${device} ${tunnelAddresses.gateway.v4} ${tunnelAddresses.gateway.v6}`,
      `domain ${device} corp.internal ~lab.example.net`,
      `default-route ${device} no`,
      `revert ${device}`
    ])
  }).pipe(inLab)
)

inPairs("init guesses the address by which this host sends, in a file that is right", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    yield* lab.exec("gateway", ["ip", "route", "add", "default", "via", outer.client.v4])
    const program = lab.program("sallyport")
    const file = `${lab.directory}/etc/first.yaml`
    const said = yield* lab.exec("gateway", [...program, "init", "--config", file])
    const checked = yield* lab.exec("gateway", [...program, "check", "--config", file])
    const again = yield* lab.attempt("gateway", [...program, "init", "--config", file])

    assert.match(said, new RegExp(`^its endpoint, ${outer.gateway.v4.replaceAll(".", "\\.")}:51820, is a guess`, "m"))
    assert.include(checked, "first.yaml is correct: 0 clients, 0 resources")
    assert.deepStrictEqual([again.code, again.stdout], [1, ""])
  }).pipe(inLab)
)
