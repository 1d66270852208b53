/** What goes wrong around a portal's gateway, and how its client fares: one world, one fault after the other. */
import { assert, layer } from "@effect/vitest"
import { Clock, Effect, Fiber } from "effect"
import { deviceNames } from "../../src/lab/demo/portalSite.ts"
import { Lab, type LabError } from "../../src/lab/demo/Lab.ts"
import { inner, losePackets } from "../support/lab.ts"
import {
  appName,
  assertQuiet,
  download,
  ending,
  eventually,
  PortalWorld,
  portalWorldLayer
} from "../support/portalDeployment.ts"
import { wide } from "../support/wide.ts"
import { isSyn, isUnreachableAbout, unreachableAbout } from "../support/wire.ts"

const client = deviceNames.client
/** A portal that does not answer is worth a line. */
const aboutPortal = [/portal/]

/** The portal has revoked the client's authorization for this resource, and the gateway knows. */
const revoked = Effect.fnUntraced(function* (resource: string) {
  const { portal } = yield* PortalWorld
  yield* ending("Revoked", portal.command({ command: "revoke", client, resource }))
})

/** Once `cause` has happened, tries to connect: `type/code` of the ICMP answer, and how often the client had to ask for it. */
const refusal = Effect.fnUntraced(function* (address: string, cause: Effect.Effect<unknown, LabError, PortalWorld>) {
  const lab = yield* Lab
  const { visitor } = yield* PortalWorld
  return yield* Effect.scoped(
    Effect.gen(function* () {
      const capture = yield* lab.capture("client")
      yield* cause
      const { ok } = yield* visitor.connect({ address, timeout: 4_000 })
      const answer = yield* capture.first(isUnreachableAbout(address), { timeout: "20 seconds" })
      const tries = (yield* capture.packets).filter(isSyn(address)).length
      return { ok, answer: answer === null ? null : unreachableAbout(answer, address), tries }
    })
  )
})

/** Downloads again and again until it works. */
const worksWithin = Effect.fnUntraced(function* (seconds: number, address: string) {
  const { visitor } = yield* PortalWorld
  const { errors, page } = yield* visitor.retry({ address, every: 200, deadline: seconds * 1_000 })
  assert(page !== null, `no page within ${seconds} s: ${JSON.stringify(errors)}`)
  return page.servedBy
})

layer(portalWorldLayer(), { timeout: 60_000, excludeTestServices: true })("faults around a portal's gateway", (it) => {
  it.effect("three names on one real address, downloaded at once from one source port", () =>
    Effect.gen(function* () {
      const { nameServer, proxyOf } = yield* PortalWorld
      const names = ["one", "two", "three"].map((label) => `${label}.corp.internal`)
      for (const name of names) yield* nameServer.set({ name, a: [inner.origin.v4], aaaa: [], ttl: 30 })
      const proxies = yield* Effect.forEach(names, (name) => proxyOf(name))

      const servers = yield* Effect.forEach(proxies, (proxy) => download(proxy, 2_000_000, { localPort: 41_000 }), {
        concurrency: 3
      })

      assert.strictEqual(new Set(proxies).size, 3)
      assert.deepStrictEqual(servers, [inner.origin.v4, inner.origin.v4, inner.origin.v4])
      yield* assertQuiet()
    })
  )

  it.effect("a revoked resource is prohibited at once, and works again once it is authorized again", () =>
    Effect.gen(function* () {
      const { proxyOf } = yield* PortalWorld
      const proxy = yield* proxyOf()
      yield* download(proxy, 100_000)
      // With its last resource a client would lose its connection, and ask for all of them.
      yield* worksWithin(5, inner.otherOrigin.v4)

      const refused = yield* refusal(proxy, revoked("names"))
      // Its application asks for the name again.
      const again = yield* proxyOf()

      assert.deepStrictEqual(refused, { ok: false, answer: "3/13", tries: 1 })
      assert.strictEqual(yield* worksWithin(5, again), inner.origin.v4)
      yield* assertQuiet()
    })
  )

  it.effect("an open connection goes on when its resource is withdrawn and granted again, without a question", () =>
    Effect.gen(function* () {
      const { portal, proxyOf, status, visitor } = yield* PortalWorld
      const counter = (name: string) => Effect.map(status, ({ counters }) => counters.dataPlane[name] ?? 0)
      const proxy = yield* proxyOf()
      // With its last resource a client would lose its connection, too.
      yield* worksWithin(5, inner.otherOrigin.v4)
      const forwarded = yield* counter("outbound.forwarded")
      const refused = yield* counter("outbound.unauthorized")

      // A client that only listens does not hear of it: there is nothing of its own to answer.
      yield* visitor.openUpload("kept", proxy)
      yield* eventually("the upload", 20, counter("outbound.forwarded"), (now) => now >= forwarded + 10)
      yield* portal.command({ command: "revoke", client, resource: "names" })
      yield* eventually("the refusal", 20, counter("outbound.unauthorized"), (now) => now > refused)
      const again = yield* counter("outbound.forwarded")
      yield* eventually("the upload again", 20, counter("outbound.forwarded"), (now) => now >= again + 10)
      const { sent, sha256 } = yield* visitor.closeUpload("kept")

      assert.strictEqual(sha256, sent)
      yield* assertQuiet()
    })
  )

  it.effect("a revoked network is prohibited at once, and asked for again by itself when it is used", () =>
    Effect.gen(function* () {
      const { proxyOf } = yield* PortalWorld
      const { v4 } = inner.otherOrigin
      // With its last resource a client would lose its connection, too.
      yield* download(yield* proxyOf(), 1_000)
      yield* worksWithin(5, v4)

      const refused = yield* refusal(v4, revoked("net"))

      assert.deepStrictEqual(refused, { ok: false, answer: "3/13", tries: 1 })
      assert.strictEqual(yield* worksWithin(5, v4), v4)
      yield* assertQuiet()
    })
  )

  it.effect("an authorization that ends is cut off, and works again once renewed", () =>
    Effect.gen(function* () {
      const { portal, proxyOf, status } = yield* PortalWorld
      const proxy = yield* proxyOf()
      yield* worksWithin(5, proxy)

      // Later than what the client may still tell the gateway about this question.
      const at = (Math.floor((yield* Clock.currentTimeMillis) / 1_000) + 6) * 1_000
      const ended = yield* ending(
        "Expired",
        Effect.gen(function* () {
          yield* portal.command({ command: "expire", client, resource: "names", at: at / 1_000 })
          const held = Effect.map(status, ({ authorizations }) => authorizations)
          yield* eventually("the date", 20, held, (all) => all.some(({ expiresAt }) => expiresAt === at))
        })
      )
      const refused = yield* refusal(proxy, Effect.void)
      const again = yield* proxyOf()

      assert.isAtLeast(ended.at, at)
      // Within a second; on a busy machine checks come late.
      assert.isBelow(ended.at, at + 3_000)
      assert.deepStrictEqual(refused, { ok: false, answer: "3/13", tries: 1 })
      assert.strictEqual(yield* worksWithin(5, again), inner.origin.v4)
      yield* assertQuiet()
    })
  )

  it.effect("an origin that resets its connections is seen to do so at once", () =>
    Effect.gen(function* () {
      const { origins, proxyOf, visitor } = yield* PortalWorld
      const proxy = yield* proxyOf()
      yield* visitor.openDrip("cut", proxy)

      yield* origins.close(inner.origin.v4)
      const drip = yield* eventually("the end of the page", 2, visitor.readDrip("cut"), ({ ended }) => ended !== null)
      const refused = yield* visitor.connect({ address: proxy })
      yield* origins.open(inner.origin.v4)

      assert.isNotNull(drip.ended)
      assert.strictEqual(refused.code, "ECONNREFUSED")
      assert.strictEqual(yield* download(proxy, 2_000_000), inner.origin.v4)
      yield* assertQuiet()
    })
  )

  it.effect("a fifth of all datagrams lost: the download ends with the right checksum", () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      const { proxyOf } = yield* PortalWorld
      const proxy = yield* proxyOf()

      yield* singleDatagrams
      const ends = ["client", "gateway"] as const
      yield* Effect.addFinalizer(() => Effect.ignore(Effect.forEach(ends, (end) => losePackets(end, "outer", 0))))
      yield* Effect.forEach(ends, (end) => losePackets(end, "outer", 20, "meta l4proto udp"))
      const servedBy = yield* download(proxy, 10_000_000, { timeout: 40_000 })
      const rules = yield* lab.exec("client", ["nft", "list", "table", "inet", "loss"])
      yield* Effect.forEach(ends, (end) => losePackets(end, "outer", 0))

      // A fifth of the 8,000 that carry the page; fewer would mean that they were lost in batches.
      assert.isAtLeast(Number(/counter packets (\d+)/.exec(rules)?.[1]), 1_000)
      assert.strictEqual(servedBy, inner.origin.v4)
      yield* assertQuiet()
    }).pipe(Effect.scoped)
  )

  it.effect("a client that changes its address keeps its flows", () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      const { proxyOf, visitor } = yield* PortalWorld
      const proxy = yield* proxyOf()
      yield* visitor.openDrip("roaming", proxy)

      yield* lab.exec("client", ["ip", "-batch", "-"], {
        input: `address del ${wide.client.v4}/24 dev outer
address add 192.168.1.77/24 dev outer
route replace default via ${wide.clientRouter.home.v4}
`
      })
      // Another network: its router knows nothing of the flows of before.
      yield* lab.exec("clientRouter", ["conntrack", "-F"])
      const before = yield* visitor.readDrip("roaming")
      const after = yield* eventually(
        "more of the page",
        15,
        visitor.readDrip("roaming"),
        ({ lines }) => lines > before.lines + 20
      )

      assert.isNull(after.ended)
      assert.strictEqual(yield* download(proxy, 2_000_000), inner.origin.v4)
      yield* visitor.closeDrip("roaming")
      yield* assertQuiet(aboutPortal)
    })
  )

  it.effect("while the portal is away data goes on; when it is back, new names work", () =>
    Effect.gen(function* () {
      const { nameServer, portal, proxyOf, visitor } = yield* PortalWorld
      const proxy = yield* proxyOf()
      yield* visitor.openDrip("portal", proxy)

      yield* portal.stop
      yield* Effect.sleep("2 seconds")
      const served = yield* download(proxy, 2_000_000)
      yield* portal.start
      const joined = yield* eventually(
        "both back",
        20,
        Effect.suspend(() => portal.command({ command: "status" })),
        ({ devices = [] }) => devices.filter((device) => device.joined).length === 2
      )
      yield* nameServer.set({ name: "later.corp.internal", a: [inner.otherOrigin.v4], aaaa: [], ttl: 30 })
      const later = yield* proxyOf("later.corp.internal")

      assert.strictEqual(served, inner.origin.v4)
      assert.lengthOf(joined.authorizations ?? [], 2)
      assert.strictEqual(yield* worksWithin(5, later), inner.otherOrigin.v4)
      assert.isNull((yield* visitor.readDrip("portal")).ended)
      yield* visitor.closeDrip("portal")
      yield* assertQuiet(aboutPortal)
    })
  )

  it.effect("a gateway that is restarted is asked again, and the name's proxy IPs work on", () =>
    Effect.gen(function* () {
      const { gateway, path, proxyOf } = yield* PortalWorld
      const proxy = yield* proxyOf()
      yield* download(proxy, 100_000)

      yield* gateway.restart

      assert.strictEqual(yield* worksWithin(15, proxy), inner.origin.v4)
      assert.strictEqual(yield* download(proxy, 2_000_000), inner.origin.v4)
      yield* eventually("a direct path", 20, path, (way) => way === "direct")
      assert.strictEqual(yield* proxyOf(appName), proxy)
      yield* assertQuiet(aboutPortal)
    })
  )

  it.effect(
    "a gateway killed in the middle of a page: the same proxy IPs work again, and nothing is left at its end",
    () =>
      Effect.gen(function* () {
        const { gateway, path, proxyOf, visitor } = yield* PortalWorld
        const proxy = yield* proxyOf()
        const proxy6 = yield* proxyOf(appName, "AAAA")
        yield* visitor.openDrip("killed", proxy)

        yield* gateway.current().process.kill
        const afterKill = yield* leftOvers
        yield* gateway.restart

        assert.include(afterKill.tables, "table inet sallyport_tun_2dfirezone")
        assert.deepStrictEqual(afterKill.devices, [])
        assert.strictEqual(yield* worksWithin(20, proxy), inner.origin.v4)
        assert.strictEqual(yield* worksWithin(5, proxy6), inner.origin.v6)
        assert.strictEqual(yield* download(proxy, 2_000_000), inner.origin.v4)
        assert.deepStrictEqual([yield* proxyOf(), yield* proxyOf(appName, "AAAA")], [proxy, proxy6])
        yield* eventually("a direct path", 20, path, (way) => way === "direct")
        yield* visitor.closeDrip("killed")
        yield* assertQuiet(aboutPortal)
        assert.strictEqual(yield* gateway.current().process.stop, 0)
        assert.deepStrictEqual(yield* leftOvers, { tables: [], devices: [], routes: [], rules: [], sockets: [] })
        yield* gateway.stop
      })
  )

  it.effect("a gateway lives before the portal has spoken, and is ready then", () =>
    Effect.gen(function* () {
      const { gateway, portal } = yield* PortalWorld
      const health = healthOf(yield* Lab)
      yield* portal.stop

      const starting = yield* Effect.forkChild(gateway.start)
      const alone = yield* eventually("its health", 20, health, ([healthz]) => healthz === "200")
      yield* portal.start
      yield* Fiber.join(starting)

      assert.deepStrictEqual(
        [alone, yield* health],
        [
          ["200", "503"],
          ["200", "200"]
        ]
      )
    })
  )
})

/** The status of `/healthz` and of `/readyz` where who runs a portal's gateways asks for them. */
const healthOf = (lab: Lab["Service"]) => {
  const urls = ["healthz", "readyz"].flatMap((path) => ["-o", "/dev/null", `http://127.0.0.1:8080/${path}`])
  return lab
    .attempt("gateway", ["curl", "-s", "--max-time", "5", "-w", "%{http_code}\n", ...urls])
    .pipe(Effect.map(({ stdout }) => stdout.trim().split("\n")))
}

/** What a gateway may leave behind on its host. */
const leftOvers = Effect.gen(function* () {
  const lab = yield* Lab
  const lines = (command: ReadonlyArray<string>, about: RegExp) =>
    Effect.map(lab.exec("gateway", command), (text) => text.split("\n").filter((line) => about.test(line)))
  return {
    tables: yield* lines(["nft", "list", "tables"], /sallyport/),
    devices: yield* lines(["ip", "-o", "link"], /^\d+: (tun|sallyport)/),
    routes: yield* lines(["ip", "route", "show", "table", "all"], /tun-firezone|100\.(64|96)\.|fd00:2021/),
    rules: yield* lines(["ip", "rule"], /lookup (?!local|main|default)/),
    sockets: yield* lines(["ss", "-Hlntu"], /:(53535|52625|8080)\s/)
  }
})

/** The routers send each datagram by itself, so that one is lost at a time and not a batch of the kernel's. */
const singleDatagrams = Effect.forEach(["clientRouter", "gatewayRouter"] as const, (router) =>
  Effect.flatMap(Lab, (lab) => {
    const batchesOf = (datagrams: number) =>
      lab.exec(router, ["ip", "link", "set", "dev", "outer", "gso_max_segs", `${datagrams}`])
    return Effect.acquireRelease(batchesOf(1), () => Effect.ignore(batchesOf(65_535)))
  })
)
