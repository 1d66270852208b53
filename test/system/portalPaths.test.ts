/** Portal, gateway, client and relays as programs, each on a host of its own: the ways that packets take. */
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { Lab } from "../../src/lab/demo/Lab.ts"
import { inner } from "../support/lab.ts"
import { assertQuiet, download, eventually, PortalWorld, portalWorldLayer } from "../support/portalDeployment.ts"
import { assertEverythingCounted, metricsOfGateway, readyOfGateway } from "../support/metrics.ts"
import { blockDirect, type Nat, setNat } from "../support/wide.ts"

const kinds: ReadonlyArray<Nat> = ["fullCone", "restricted", "symmetric"]

layer(portalWorldLayer(), { timeout: 60_000, excludeTestServices: true })("a portal's deployment", (it) => {
  it.effect("connects directly through ICE and serves a name over both families", () =>
    Effect.gen(function* () {
      const { path, proxyOf } = yield* PortalWorld
      const v4 = yield* proxyOf()
      const v6 = yield* proxyOf(undefined, "AAAA")

      const servers = [yield* download(v4, 3_000_000), yield* download(v6, 3_000_000)]

      assert.deepStrictEqual(servers, [inner.origin.v4, inner.origin.v6])
      assertEverythingCounted(yield* metricsOfGateway)
      assert.include(yield* readyOfGateway, '"ready":true')
      yield* eventually("a direct path", 20, path, (way) => way === "direct")
      yield* assertQuiet()
    })
  )

  it.effect("serves a network without any name", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* download(inner.otherOrigin.v4, 1_000_000), inner.otherOrigin.v4)
      yield* assertQuiet()
    })
  )

  for (const gateway of kinds) {
    for (const client of kinds) {
      // A port that changes with the destination can be told to nobody; a restricted one admits only whom it wrote to.
      const open = client === "fullCone" || gateway === "fullCone"
      const blind = client === "symmetric" || gateway === "symmetric"
      const expected = blind && !open ? "relayed" : "direct"
      it.effect(`client behind a ${client} NAT, gateway behind a ${gateway} one: ${expected}`, () =>
        Effect.gen(function* () {
          const world = yield* PortalWorld
          yield* world.client.stop
          yield* setNat("client", client)
          // Its relays know the gateway by the old translation.
          if (client === kinds[0]) {
            yield* world.gateway.stop
            yield* setNat("gateway", gateway)
            yield* world.gateway.start
          }
          yield* world.client.start

          assert.strictEqual(yield* download(yield* world.proxyOf(), 1_000_000), inner.origin.v4)
          yield* eventually(`a ${expected} path`, 20, world.path, (path) => path === expected)
          yield* assertQuiet()
        })
      )
    }
  }

  it.effect("goes through a relay where the direct way is blocked", () =>
    Effect.gen(function* () {
      const world = yield* PortalWorld
      yield* world.client.stop
      yield* blockDirect(true)
      yield* world.client.start

      assert.strictEqual(yield* download(yield* world.proxyOf(), 3_000_000), inner.origin.v4)
      yield* eventually("a relayed path", 20, world.path, (way) => way === "relayed")
      yield* blockDirect(false)
      yield* assertQuiet()
    })
  )

  it.effect("needs no open port where its host lets in answers only: direct, and through a relay", () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      const world = yield* PortalWorld
      yield* world.client.stop
      yield* world.gateway.stop
      yield* Effect.all([setNat("client", "restricted"), setNat("gateway", "restricted")])
      yield* lab.exec("gateway", ["nft", "-f", "-"], { input: answersOnly })
      yield* world.gateway.start
      for (const expected of ["direct", "relayed"] as const) {
        yield* blockDirect(expected === "relayed")
        yield* world.client.restart

        assert.strictEqual(yield* download(yield* world.proxyOf(), 1_000_000), inner.origin.v4)
        yield* eventually(`a ${expected} path`, 20, world.path, (path) => path === expected)
        yield* assertQuiet()
      }
    }).pipe(Effect.ensuring(Effect.ignore(openAgain)))
  )
})

/** As ufw, firewalld and others set up a host that serves nothing. */
const answersOnly = `table inet stateful {
  chain input {
    type filter hook input priority filter; policy drop;
    iifname != "outer" accept
    ct state { established, related } accept
    ct state invalid drop
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept
    icmp type echo-request accept
  }
}
`

const openAgain = Effect.gen(function* () {
  yield* blockDirect(false)
  yield* (yield* Lab).exec("gateway", ["nft", "delete", "table", "inet", "stateful"])
})
