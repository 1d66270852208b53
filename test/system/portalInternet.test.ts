/** The Internet resource: what is under no other resource goes through the gateway, its own ways stay. */
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { startHelper } from "../../src/lab/demo/Helper.ts"
import { Lab } from "../../src/lab/demo/Lab.ts"
import { inner } from "../support/lab.ts"
import { assertQuiet, download, eventually, PortalWorld, portalWorldLayer } from "../support/portalDeployment.ts"
import { wide } from "../support/wide.ts"

/** A public address of each family, to which the gateway's router alone has a way. */
const site = { v4: "9.9.9.9", v6: "2620:fe::9" }

const startSite = Effect.gen(function* () {
  const lab = yield* Lab
  yield* lab.exec("internet", ["ip", "-batch", "-"], {
    input: `link set lo up
address add ${site.v4}/32 dev lo
address add ${site.v6}/128 dev lo
`
  })
  yield* lab.exec("gatewayRouter", ["ip", "-batch", "-"], {
    input: `route add ${site.v4} via ${wide.portal.v4}
route add ${site.v6} via ${wide.portal.v6}
`
  })
  return yield* startHelper("internet", "origin", [site.v4, site.v6])
})

const options = {
  resources: `  lab: { cidr: ${inner.origin.v4}/32 }\n  world: { internet: true }`,
  clientEnv: { FIREZONE_ACTIVATE_INTERNET_RESOURCE: "true" }
}

layer(portalWorldLayer(options), { timeout: 60_000, excludeTestServices: true })(
  "a client with the Internet resource",
  (it) => {
    it.effect("reaches public addresses through the gateway, and no private ones", () =>
      Effect.gen(function* () {
        const { client, path, portal, visitor } = yield* PortalWorld
        const lab = yield* Lab
        yield* startSite
        yield* eventually("a path", 20, path, (way) => way === "direct")

        const servers = [yield* download(site.v4, 1_000_000), yield* download(site.v6, 1_000_000)]
        const own = yield* download(inner.origin.v4, 100_000)
        const refused = yield* visitor.connect({ address: inner.otherOrigin.v4, timeout: 2_000 })
        const portalRoute = yield* lab.exec("client", ["ip", "route", "get", wide.portal.v4])
        const { devices = [] } = yield* portal.command({ command: "status" })

        assert.deepStrictEqual([...servers, own], [site.v4, site.v6, inner.origin.v4])
        assert.deepStrictEqual([refused.ok, refused.code], [false, "ENETUNREACH"])
        assert.include(portalRoute, "dev outer")
        assert.strictEqual(devices.filter(({ joined }) => joined).length, 2)
        yield* assertQuiet()

        assert.strictEqual(yield* client.current().stop, 0)
        const rules = (yield* lab.exec("client", ["ip", "rule"])) + (yield* lab.exec("client", ["ip", "-6", "rule"]))
        assert.notMatch(rules, /^(98|99|100):/m)
        yield* client.restart
      })
    )
  }
)
