/** Hosts that change their address in the middle of a flow, each end, directly and through a relay. */
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { Lab } from "../../src/lab/demo/Lab.ts"
import { inner } from "../support/lab.ts"
import { assertQuiet, download, eventually, PortalWorld, portalWorldLayer } from "../support/portalDeployment.ts"
import { blockDirect, wide } from "../support/wide.ts"

/** A portal that does not answer is worth a line. */
const aboutPortal = [/portal/]

/** The host takes another address in its home; the router knows nothing of the flows of before. */
const move = Effect.fnUntraced(function* (home: "client" | "gateway", from: string, to: string) {
  const lab = yield* Lab
  yield* lab.exec(home, ["ip", "-batch", "-"], {
    input: `address del ${from}/24 dev outer
address add ${to}/24 dev outer
route replace default via ${wide[`${home}Router`].home.v4}
`
  })
  yield* lab.exec(`${home}Router`, ["conntrack", "-F"])
})

/** What is done to the hosts does not end the page that is being read. */
const readsOnAfter = Effect.fnUntraced(function* (
  id: string,
  address: string,
  cause: Effect.Effect<void, unknown, Lab>
) {
  const { visitor } = yield* PortalWorld
  yield* visitor.openDrip(id, address)
  yield* eventually("a page", 5, visitor.readDrip(id), ({ lines }) => lines > 5)
  yield* Effect.orDie(cause)
  const before = yield* visitor.readDrip(id)
  const after = yield* eventually("more of it", 20, visitor.readDrip(id), ({ lines }) => lines > before.lines + 20)
  assert.isNull(after.ended)
  yield* visitor.closeDrip(id)
})

layer(portalWorldLayer(), { timeout: 90_000, excludeTestServices: true })("an address that changes", (it) => {
  it.effect("the gateway's: it tells its new candidates, and flows go on", () =>
    Effect.gen(function* () {
      const { path, proxyOf } = yield* PortalWorld
      const proxy = yield* proxyOf()

      yield* readsOnAfter("gateway", proxy, move("gateway", wide.gateway.v4, "192.168.2.77"))

      assert.strictEqual(yield* download(proxy, 2_000_000), inner.origin.v4)
      yield* eventually("a direct path", 20, path, (way) => way === "direct")
      yield* assertQuiet(aboutPortal)
    })
  )

  it.effect("the client's, reached through a relay: flows go on", () =>
    Effect.gen(function* () {
      const { client, path, proxyOf } = yield* PortalWorld
      yield* client.stop
      yield* blockDirect(true)
      yield* client.start
      const proxy = yield* proxyOf()
      yield* eventually("a relayed path", 20, path, (way) => way === "relayed")

      yield* readsOnAfter("client", proxy, move("client", wide.client.v4, "192.168.1.77"))

      assert.strictEqual(yield* download(proxy, 1_000_000), inner.origin.v4)
      yield* eventually("a relayed path", 20, path, (way) => way === "relayed")
      yield* assertQuiet(aboutPortal)
    })
  )

  it.effect("the gateway's, reached through a relay: flows go on", () =>
    Effect.gen(function* () {
      const { path, proxyOf } = yield* PortalWorld
      const proxy = yield* proxyOf()

      yield* readsOnAfter("relayed", proxy, move("gateway", "192.168.2.77", wide.gateway.v4))

      assert.strictEqual(yield* download(proxy, 1_000_000), inner.origin.v4)
      yield* eventually("a relayed path", 20, path, (way) => way === "relayed")
      yield* blockDirect(false)
      yield* assertQuiet(aboutPortal)
    })
  )
})
