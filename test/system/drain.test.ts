/** A gateway of a site is drained: what a stock client notices of it, which knows nothing of several gateways. */
import { readFileSync } from "node:fs"
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Schedule } from "effect"
import { startVisitor } from "../../src/lab/demo/company.ts"
import { Lab } from "../../src/lab/demo/Lab.ts"
import { type Gateway, tunnelAddresses } from "../../src/lab/demo/tunnel.ts"
import { dig, inner } from "../support/lab.ts"
import { appName } from "../support/labWorld.ts"
import { handAddress, inSite, type SiteGateway, startSiteOf, until } from "../support/site.ts"

const downloadBytes = 100_000_000
/** Its address moves meanwhile. */
const bytesASecond = 25_000_000

/** Both gateways run, the first one has the address, and a client knows a name. */
const startDrains = Effect.fnUntraced(function* (masquerade: boolean) {
  const lab = yield* Lab
  const site = yield* startSiteOf({ masquerade })
  yield* site.nameServer.set({ name: appName, a: [inner.origin.v4], ttl: 60 })
  const [first, second] = yield* Effect.all([site.start("gateway"), site.start("otherGateway")], { concurrency: 2 })
  yield* handAddress("gateway")
  yield* site.connect("client", first.publicKey)
  const [proxy = ""] = yield* dig("client", tunnelAddresses.gateway.v4, appName, "A")
  assert.match(proxy, /^100\./)
  const ping = (count: number) =>
    lab.exec("client", ["ping", "-n", "-q", "-i", "0.001", "-c", `${count}`, proxy], { timeout: "60 seconds" })
  yield* ping(2)
  return {
    first,
    second,
    proxy,
    sallyport: (command: string, at: SiteGateway) =>
      lab.exec(at, [...lab.program("sallyport"), command, "--socket", `${lab.directory}/${at}.sock`], {
        timeout: "20 seconds"
      }),
    /** None of them is lost. */
    pings: Effect.fnUntraced(function* (count: number) {
      assert.include(yield* ping(count), `${count} packets transmitted, ${count} received`)
    })
  }
})

it.live(
  "of 10,000 packets none is lost when a gateway is drained, and a download goes on when its clients come back",
  () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      const { first, pings, proxy, sallyport, second } = yield* startDrains(false)
      const pinging = yield* Effect.forkChild(pings(10_000))
      const said = yield* sallyport("drain", "gateway")
      assert.strictEqual(said.trim(), "1 client is here, and the address that they dial may move now")
      yield* handAddress("otherGateway")
      yield* Fiber.join(pinging)
      yield* until(first, (report) => report.site?.draining?.clients === 0)
      for (const gateway of [first, second]) assert.isAtLeast(yield* handedOver(gateway), 1)

      yield* sallyport("undrain", "gateway")
      yield* sallyport("drain", "otherGateway")
      const headers = `${lab.directory}/headers`
      const fetch = `curl --silent --show-error --max-time 60 --limit-rate ${bytesASecond} --dump-header ${headers}`
      const downloading = yield* Effect.forkChild(
        lab.exec("client", ["sh", "-c", `${fetch} http://${proxy}/bytes/${downloadBytes} | sha256sum`], {
          timeout: "60 seconds"
        })
      )
      yield* Effect.sleep("1 second")
      yield* handAddress("gateway")
      const [sum] = (yield* Fiber.join(downloading)).split(" ")
      assert.strictEqual(sum, /^x-sha256: (\w+)/im.exec(readFileSync(headers, "utf8"))?.[1])
      yield* until(second, (report) => report.site?.draining?.clients === 0)
    }).pipe(inSite),
  120_000
)

it.live(
  "where flows are masqueraded, connections are reset as soon as their client is over, and no packet is lost",
  () =>
    Effect.gen(function* () {
      const { first, pings, proxy, sallyport } = yield* startDrains(true)
      const visitor = yield* startVisitor()
      yield* visitor.openDrip("page", proxy)
      const pinging = yield* Effect.forkChild(pings(6_000))
      yield* sallyport("drain", "gateway")
      const { ended } = yield* visitor.readDrip("page")
      assert.isNull(ended)

      yield* handAddress("otherGateway")
      const moved = Date.now()
      yield* visitor.readDrip("page").pipe(
        Effect.filterOrFail((page) => page.ended !== null),
        Effect.retry({ schedule: Schedule.spaced("20 millis"), times: 250 })
      )
      const resetMs = Date.now() - moved
      assert.isBelow(resetMs, 1_000)
      yield* Fiber.join(pinging)
      assert.isAtLeast(yield* handedOver(first), 1)
      yield* Effect.logInfo(`the connection was reset ${resetMs} ms after the move`)
    }).pipe(inSite),
  120_000
)

/** Datagrams from the other gateway. */
const handedOver = (gateway: Gateway) =>
  Effect.map(gateway.status, ({ counters: { dataPlane } }) => dataPlane["hand_over.received"]!)
