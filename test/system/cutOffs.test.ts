/** A gateway of a site loses its way to PostgreSQL, to the LAN, to clients, or to the other gateway. */
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import type { StatusReport } from "../../src/cli/statusReport.ts"
import { Lab } from "../../src/lab/demo/Lab.ts"
import { tunnelAddresses } from "../../src/lab/demo/tunnel.ts"
import { inPairs } from "../support/inPairs.ts"
import { curl, dig, inner } from "../support/lab.ts"
import { inSite, type SiteGateway, until } from "../support/site.ts"
import { startTakeOvers, type TakeOver } from "../support/takeOvers.ts"

/** Nothing that matches comes or goes there any more. Yields what ends that. */
const cut = Effect.fnUntraced(function* (host: SiteGateway, coming: string, going: string) {
  const lab = yield* Lab
  yield* lab.exec(host, ["nft", "-f", "-"], {
    input: `table inet cut {
  chain coming { type filter hook prerouting priority -300; ${coming} drop; }
  chain going { type filter hook postrouting priority 300; ${going} drop; }
}
`
  })
  return lab.exec(host, ["nft", "delete", "table", "inet", "cut"])
})

const readiness = Effect.fnUntraced(function* (host: SiteGateway) {
  const lab = yield* Lab
  return yield* lab.exec(host, ["curl", "--silent", "http://127.0.0.1:9820/readyz"])
})

const mostMs = 2_000
/** Until a name that somebody asks for has shown that DNS is silent, and keepalived has heard so twice. */
const mostSilentMs = 10_000

const isSoon = ({ repliedMs }: TakeOver, most = mostMs) => {
  for (const ms of Object.values(repliedMs)) assert.isBelow(ms, most)
}

inPairs("a gateway without PostgreSQL serves on; one without the LAN, or without clients, loses the address", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    const { gateways, loses, nameServer, postgres, successor } = yield* startTakeOvers
    const ask = (name: string) => dig("client", tunnelAddresses.gateway.v4, name, "A")
    const name = "alone.svc.corp.internal"
    yield* nameServer.set({ name, a: [inner.origin.v4], ttl: 60 })
    yield* successor

    const began = Date.now()
    const restore = yield* cut("gateway", `tcp sport ${postgres.port}`, `tcp dport ${postgres.port}`)
    const alone = yield* until(gateways.gateway, ({ site }) => site!.postgres.server === null)
    assert.isAtLeast(alone.site!.postgres.since, began)
    assert.match(alone.site!.postgres.wrong!, /^PostgreSQL 10\.20\.0\.53:\d+: /)
    const [proxy = ""] = yield* ask(name)
    assert.strictEqual((yield* curl("client", `http://${proxy}/`)).http_code, 200)
    assert.include(yield* readiness("gateway"), `"ready":true`)
    yield* restore
    yield* until(gateways.otherGateway, ({ mappings }) => mappings.some(({ proxyIps }) => proxyIps.includes(proxy)))

    // Packets get lost somewhere behind its wire.
    const silent = yield* loses((host) =>
      Effect.tap(cut(host, "iifname inner", "oifname inner"), () => ask("new.svc.corp.internal"))
    )
    isSoon(silent, mostSilentMs)
    assert.match(yield* readiness("gateway"), /no DNS server answers: /)
    yield* restore
    yield* successor

    const link = (device: string, to: "down" | "up") => (host: SiteGateway) =>
      lab.exec(host, ["ip", "link", "set", device, to])
    const withoutLan = yield* loses(link("inner", "down"))
    isSoon(withoutLan)
    yield* link("inner", "up")("otherGateway")
    yield* successor

    const withoutClients = yield* loses(link("outer", "down"))
    isSoon(withoutClients)
    yield* Effect.logInfo(
      `replies of the other gateway: ${[silent, withoutLan, withoutClients].map(({ repliedMs }) => JSON.stringify(repliedMs)).join(", ")}`
    )
  }).pipe(inSite)
)

inPairs(
  "two gateways that both have the address say so once each, and clients go on at the one that took it last",
  () =>
    Effect.gen(function* () {
      const { gateways, home, loses, open, successor } = yield* startTakeOvers
      yield* successor
      const masters = ({ site }: StatusReport) => site!.gateways.filter(({ master }) => master).length

      yield* loses(() => Effect.asVoid(cut("otherGateway", "ip protocol vrrp", "ip protocol vrrp")))
      for (const gateway of Object.values(gateways)) yield* until(gateway, (report) => masters(report) === 2)
      // They have heard of each other's claim, and go on saying it once a second.
      yield* Effect.sleep("3 seconds")
      for (const { process } of Object.values(gateways)) {
        assert.lengthOf((yield* process.output).match(/has the site's virtual address as well as this one/g) ?? [], 1)
      }
      for (const { replyAfter } of [home, open]) assert.isBelow((yield* replyAfter(Date.now())) - Date.now(), 1_000)

      yield* (yield* Lab).exec("otherGateway", ["nft", "delete", "table", "inet", "cut"])
      for (const gateway of Object.values(gateways)) yield* until(gateway, (report) => masters(report) === 1)
      for (const { replyAfter } of [home, open]) yield* replyAfter(Date.now())
    }).pipe(inSite)
)
