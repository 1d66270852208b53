/** A whole deployment in the words of generation A, and of generation C: names over both families, and a network. */
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { inner } from "../support/lab.ts"
import { assertQuiet, download, ending, PortalWorld, portalWorldLayer } from "../support/portalDeployment.ts"

const generations = [
  {
    title: "a client of generation A",
    options: { clientEnv: { SALLYPORT_PORTAL_GENERATION: "A" } },
    client: /generation=A/,
    portal: /client client \([^)]+\) connected from [0-9.]+"/
  },
  {
    title: "a gateway at the portal's v2 endpoint",
    options: { gatewayEnv: { SALLYPORT_PORTAL_ENDPOINT: "v2" } },
    client: /generation=B/,
    portal: /gateway gateway \([^)]+\) connected from [0-9.]+ at v2"/
  },
  {
    title: "a client 1.6 at a portal that gives it gateways from 1.5 to 1.7",
    options: { clientEnv: { SALLYPORT_PORTAL_GENERATION: "C" }, more: "version_gate: true" },
    client: /generation=C/,
    portal: /client client \(1\.6\.0, [^)]+\) connected from [0-9.]+ at v2"/
  }
]

for (const { client, options, portal, title } of generations) {
  layer(portalWorldLayer(options), { timeout: 60_000, excludeTestServices: true })(title, (it) => {
    it.effect("serves names over both families and a network, each download with the right checksum", () =>
      Effect.gen(function* () {
        const world = yield* PortalWorld
        yield* world.nameServer.set({ name: "later.corp.internal", a: [inner.otherOrigin.v4], aaaa: [], ttl: 30 })
        const v4 = yield* world.proxyOf()
        const v6 = yield* world.proxyOf(undefined, "AAAA")

        const servers = [yield* download(v4, 2_000_000), yield* download(v6, 2_000_000)]
        // One more name of the resource, over the connection that is there.
        const later = yield* world.proxyOf("later.corp.internal")
        // Generation A is not told when the gateway has it.
        yield* world.visitor.retry({ address: later, every: 50, deadline: 2_000 })
        servers.push(yield* download(later, 100_000), yield* download(inner.otherOrigin.v4, 100_000))

        const { origin, otherOrigin } = inner
        assert.deepStrictEqual(servers, [origin.v4, origin.v6, otherOrigin.v4, otherOrigin.v4])
        assert.match(yield* world.client.current().output, client)
        assert.match(yield* world.portal.current().process.output, portal)
        yield* assertQuiet()
      })
    )

    it.effect("is refused what was revoked, and served again once the name is asked for again", () =>
      Effect.gen(function* () {
        const { portal, proxyOf, visitor } = yield* PortalWorld
        const proxy = yield* proxyOf()

        yield* ending("Revoked", portal.command({ command: "revoke", client: "client", resource: "names" }))
        const refused = yield* visitor.connect({ address: proxy })
        yield* proxyOf()
        const again = yield* visitor.retry({ address: proxy, every: 200, deadline: 10_000 })

        assert.isFalse(refused.ok)
        assert.strictEqual(again.page?.servedBy, inner.origin.v4, JSON.stringify(again.errors))
        yield* assertQuiet()
      })
    )
  })
}
