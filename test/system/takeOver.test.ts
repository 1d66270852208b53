/** A gateway of a site dies: what stock clients notice of it, which know nothing of several gateways. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import type { StatusReport } from "../../src/cli/statusReport.ts"
import { startVisitor } from "../../src/lab/demo/company.ts"
import { Lab } from "../../src/lab/demo/Lab.ts"
import { tunnelAddresses } from "../../src/lab/demo/tunnel.ts"
import { dig, inner } from "../support/lab.ts"
import { appName } from "../support/labWorld.ts"
import { giveAddress, inSite, type SiteClient, startPings, startSite, until } from "../support/site.ts"

/** One has its address from the directory of the site, the other one from a block of the gateway that was asked. */
const names = { client: appName, openClient: "app.svc.corp.internal" } as const

/** From the death of a gateway, whose address another one has at once, to the next reply. */
const mostMs = 2_000

/** It knows where both clients are. */
const ownedBy = (owner: StatusReport) => (report: StatusReport) =>
  report.clients.every((client) => client.owner === owner.site?.gateway)

const callsOf = ({ counters: { dataPlane } }: StatusReport) => ({
  inAnswer: dataPlane["calls.in_answer"]!,
  byOrder: dataPlane["calls.by_order"]!
})

it.live(
  "the other gateway has a dead one's clients within two seconds, also without PostgreSQL; one that comes back takes nobody",
  () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      const site = yield* startSite
      for (const name of Object.values(names)) yield* site.nameServer.set({ name, a: [inner.origin.v4], ttl: 60 })
      const [first, second] = yield* Effect.all([site.start("gateway"), site.start("otherGateway")], { concurrency: 2 })
      yield* giveAddress("gateway")
      const connect = Effect.fnUntraced(function* (host: SiteClient) {
        yield* site.connect(host, first.publicKey)
        const proxyOf = Effect.map(dig(host, tunnelAddresses.gateway.v4, names[host], "A"), ([proxy = ""]) => proxy)
        const proxy = yield* proxyOf
        assert.match(proxy, /^100\./)
        return { proxy, proxyOf }
      })
      const home = yield* connect("client")
      const open = yield* connect("openClient")
      const visitor = yield* startVisitor()
      yield* visitor.openUpload("letter", home.proxy)
      const atHome = yield* startPings("client", home.proxy)
      yield* atHome(0)
      // One client sends, the other one is silent.
      yield* until(second, ownedBy(yield* first.status))

      yield* first.process.kill
      const killed = Date.now()
      yield* giveAddress("otherGateway")
      const words = `vip-notify --socket ${lab.directory}/otherGateway.sock INSTANCE clients MASTER 100`
      const told = yield* lab.exec("otherGateway", [...lab.program("sallyport"), ...words.split(" ")])
      const notified = Date.now()
      const waited = (yield* atHome(killed)) - killed
      assert.isBelow(waited, mostMs)

      assert.match(told, /^MASTER: the gateway takes over/)
      const taken = yield* until(second, ({ clients }) => clients.every(({ connected }) => connected))
      assert.isBelow(taken.clients.find(({ name }) => name === "open")!.lastHandshakeAt! - notified, mostMs)
      assert.isAtLeast(callsOf(taken).inAnswer, 1)
      assert.isAtLeast(callsOf(taken).byOrder, 1)
      assert.strictEqual(taken.site?.virtualAddress?.state, "MASTER")
      assert.deepStrictEqual([yield* home.proxyOf, yield* open.proxyOf], [home.proxy, open.proxy])
      // Nothing of what it sent all the while is missing.
      const letter = yield* visitor.closeUpload("letter")
      assert.isAbove(letter.bytes, 0)
      assert.strictEqual(letter.sha256, letter.sent)

      // It was here before, and its state says so.
      const again = yield* site.start("gateway")
      const back = yield* until(again, ownedBy(taken))
      yield* until(again, ({ site }) => site!.gateways.some(({ heardAt, own }) => own && heardAt > back.at))
      assert.deepStrictEqual(callsOf(yield* again.status), { inAnswer: 0, byOrder: 0 })

      yield* site.postgres.suspend
      const inTheOpen = yield* startPings("openClient", open.proxy)
      yield* inTheOpen(0)
      yield* second.process.kill
      const killedAgain = Date.now()
      yield* giveAddress("gateway")
      const waitedAgain = yield* Effect.all([atHome(killedAgain), inTheOpen(killedAgain)], { concurrency: 2 })
      for (const reply of waitedAgain) assert.isBelow(reply - killedAgain, mostMs)
      assert.isAtLeast(callsOf(yield* again.status).inAnswer, 2)
      assert.deepStrictEqual([yield* home.proxyOf, yield* open.proxyOf], [home.proxy, open.proxy])
      yield* Effect.logInfo(
        `next reply after ${Math.round(waited)} ms; without PostgreSQL ${waitedAgain.map((at) => Math.round(at - killedAgain)).join(" and ")} ms`
      )
    }).pipe(inSite),
  120_000
)
