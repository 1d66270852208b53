/** The gateway's key is replaced under two stock clients: one that keeps the old one to the end, and one that has moved. */
import { assert, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import { Lab } from "../../src/lab/demo/Lab.ts"
import { type Gateway, gatewayPort, tunnelAddresses } from "../../src/lab/demo/tunnel.ts"
import { appName, connectWireguardGo, restartGateway, startWorld } from "../support/labWorld.ts"
import { dig, inLab, inner, outer } from "../support/lab.ts"
import { startWireguardGo, type WireguardGo } from "../support/wireguardGo.ts"

/** Until it holds; a loaded machine gets its time. */
const until = <A, E, R>(effect: Effect.Effect<A, E, R>, holds: (value: A) => boolean) =>
  Effect.repeat(effect, { until: holds, schedule: Schedule.spaced("100 millis"), times: 200 })

it.live("a rotation cuts nobody, survives a restart of the gateway, and its end names who has not moved", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    const phoneKeys = yield* lab.keyPair
    const options = {
      clients: `  phone: { public_key: "${phoneKeys.publicKey}", tunnel_ipv4: 100.64.0.3, tunnel_ipv6: "fd00:2021:1111::3" }`,
      resources: `  intranet: { name: ${appName}, resolver: corp, allow: [visitor, phone] }`
    }
    const world = yield* startWorld(options)
    const { visitor } = world
    const oldKey = world.gateway.publicKey
    const file = world.gateway.configPath
    const sallyport = (...words: ReadonlyArray<string>) =>
      lab.attempt("gateway", [...lab.program("sallyport"), ...words, "--config", file], { timeout: "20 seconds" })
    const keysOf = (gateway: Gateway) =>
      Effect.map(gateway.status, (status) => status.clients.map(({ gatewayKey, name }) => `${name} ${gatewayKey}`))
    const networks = tunnelAddresses.networks.join(",")
    /** As somebody does who puts another file into the device: what is open in the tunnel stays open. */
    const takeFile = Effect.fnUntraced(function* ({ set }: WireguardGo, before: string, publicKey: string) {
      yield* set(["peer", before, "remove"])
      yield* set(["peer", publicKey, "allowed-ips", networks, "endpoint", `${outer.gateway.v4}:${gatewayPort}`])
    })
    const visitorEnd = yield* connectWireguardGo(world)
    const proxy = yield* world.proxyOf()
    yield* visitor.openUpload("steady", proxy)

    const rotated = yield* sallyport("key", "rotate", "--days", "30")
    const { gateway: during } = yield* world.gateway.status
    const newKey = during.publicKey
    yield* startWireguardGo({
      host: "lan",
      device: `wk${lab.id.split("-").slice(2).join("x")}`,
      privateKey: phoneKeys.privateKey,
      addresses: ["100.64.0.3/32"],
      routes: [`${tunnelAddresses.gateway.v4}/32`],
      peers: [{ publicKey: newKey, allowedIps: ["100.64.0.0/10"], endpoint: `${inner.gateway.v4}:${gatewayPort}` }]
    })
    const asked = until(dig("lan", tunnelAddresses.gateway.v4, appName, "A"), (answers) => answers.length > 0)
    const phoneAnswers = yield* asked
    // A new handshake by the old key, under the open connection.
    yield* takeFile(visitorEnd, oldKey, oldKey)
    yield* until(visitorEnd.latestHandshake(oldKey), (at) => at > 0)
    const moved = yield* until(keysOf(world.gateway), (keys) => keys.includes("phone current"))
    const listed = yield* sallyport("client", "list")
    const upload = yield* visitor.closeUpload("steady")

    yield* world.gateway.process.stop
    const gateway = yield* restartGateway(world, options)
    const restarted = yield* gateway.status
    const page = yield* visitor.retry({ address: proxy, every: 100, deadline: 20_000 })
    const phoneAgain = yield* asked
    const back = yield* until(gateway.status, ({ clients }) => clients.every(({ connected }) => connected))

    const finished = yield* sallyport("key", "rotate", "--finish")
    const open = yield* visitor.get({ address: proxy })
    yield* takeFile(visitorEnd, oldKey, oldKey)
    const refused = yield* visitor.connect({ address: proxy, timeout: 3_000 })
    const refusedAt = yield* visitorEnd.latestHandshake(oldKey)
    const { counters } = yield* gateway.status
    yield* takeFile(visitorEnd, oldKey, newKey)
    const home = yield* visitor.retry({ address: proxy, every: 100, deadline: 20_000 })
    const log = yield* gateway.process.output

    assert.strictEqual(rotated.code, 0, rotated.stderr)
    assert.include(rotated.stdout, `hand out ${newKey}\n${oldKey} answers as well until 20`)
    assert.notStrictEqual(newKey, oldKey)
    assert.strictEqual(during.endingKey?.publicKey, oldKey)
    assert.isNotEmpty(phoneAnswers)
    assert.deepStrictEqual(moved, ["visitor ending", "phone current"])
    assert.match(listed.stdout, /^visitor .* old .*\nphone .* new /m)
    assert.isAbove(upload.bytes, 0)
    assert.strictEqual(upload.sha256, upload.sent)

    assert.deepStrictEqual(restarted.gateway.endingKey, during.endingKey)
    assert.strictEqual(restarted.gateway.publicKey, newKey)
    assert.isNotNull(page.page)
    assert.deepStrictEqual(phoneAgain, phoneAnswers)
    assert.deepStrictEqual(
      back.clients.map(({ gatewayKey }) => gatewayKey),
      ["ending", "current"]
    )

    assert.match(finished.stdout, new RegExp(`is forgotten\\n1 of 2 clients has .*:\\n {2}visitor$`, "m"))
    assert.strictEqual(open.servedBy, inner.origin.v4, "a session that is open goes on")
    assert.isFalse(refused.ok)
    assert.strictEqual(refusedAt, 0)
    assert.isAbove(counters.dataPlane["wireguard.bad_mac1"] ?? 0, 0)
    assert.isNotNull(home.page)
    assert.include(log, `${oldKey} is forgotten; 1 of 2 clients have it, not yet: visitor`)
  }).pipe(inLab)
)
