/** Relays that die or fall silent while the direct way is blocked: data goes on through the other one. */
import { assert, layer } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import type { RelayName } from "../../src/lab/demo/portalSite.ts"
import { Lab } from "../../src/lab/demo/Lab.ts"
import { inner } from "../support/lab.ts"
import { assertQuiet, download, PortalWorld, portalWorldLayer } from "../support/portalDeployment.ts"
import { blockDirect, wide } from "../support/wide.ts"

/** A relay that is gone is worth a line. */
const aboutRelays = [/relay/i]
const size = 60_000_000

/** Slow enough that what is done to the relay happens in the middle. */
const shape = (rate: string) =>
  Effect.flatMap(Lab, (lab) =>
    Effect.forEach(["to-client", "to-gateway"], (device) =>
      lab.exec("internet", `tc qdisc replace dev ${device} root tbf rate ${rate} burst 64k latency 50ms`.split(" "))
    )
  )

/** The relay that carries what goes between client and gateway. */
const carrier = Effect.gen(function* () {
  const lab = yield* Lab
  const count = (address: string) =>
    Effect.map(lab.exec("internet", ["nft", "list", "counter", "inet", "watch", address]), (text) =>
      Number(/bytes (\d+)/.exec(text)?.[1] ?? 0)
    )
  yield* lab.attempt("internet", ["nft", "delete", "table", "inet", "watch"])
  yield* lab.exec("internet", ["nft", "-f", "-"], {
    input: `table inet watch {
  counter one {}
  counter two {}
  chain in {
    type filter hook input priority 0;
    ip daddr ${wide.relay.v4} counter name one
    ip6 daddr ${wide.relay.v6} counter name one
    ip daddr ${wide.otherRelay.v4} counter name two
    ip6 daddr ${wide.otherRelay.v6} counter name two
  }
}
`
  })
  yield* Effect.sleep("500 millis")
  const [one, two] = [yield* count("one"), yield* count("two")]
  assert.isAbove(one + two, 500_000, "nothing goes through the relays")
  const carrier: RelayName = one > two ? "one" : "two"
  return carrier
})

layer(portalWorldLayer(), { timeout: 60_000, excludeTestServices: true })(
  "relays between a client and a gateway",
  (it) => {
    const downloading = Effect.gen(function* () {
      const { proxyOf } = yield* PortalWorld
      const proxy = yield* proxyOf()
      const fiber = yield* Effect.forkScoped(download(proxy, size, { timeout: 75_000 }))
      yield* Effect.sleep("1 second")
      return { fiber, through: yield* carrier }
    })

    it.effect(
      "a relay that is killed in the middle of a download: the other one carries on, every byte right",
      () =>
        Effect.gen(function* () {
          const world = yield* PortalWorld
          yield* world.client.stop
          yield* blockDirect(true)
          yield* shape("60mbit")
          yield* world.client.start
          const { fiber, through } = yield* downloading

          yield* world.relays[through].current().kill

          assert.strictEqual(yield* Fiber.join(fiber), inner.origin.v4)
          yield* world.relays[through].restart
          yield* assertQuiet(aboutRelays)
        }),
      90_000
    )

    it.effect(
      "a relay that falls silent in the middle of a download: the other one carries on, every byte right",
      () =>
        Effect.gen(function* () {
          const world = yield* PortalWorld
          const lab = yield* Lab
          yield* world.client.restart
          const { fiber, through } = yield* downloading
          const { pid } = world.relays[through].current()

          yield* lab.exec("internet", ["kill", "-STOP", `${pid}`])

          const servedBy = yield* Fiber.join(fiber).pipe(
            Effect.ensuring(Effect.ignore(lab.exec("internet", ["kill", "-CONT", `${pid}`])))
          )
          assert.strictEqual(servedBy, inner.origin.v4)
          yield* assertQuiet(aboutRelays)
        }),
      90_000
    )
  }
)
