/** Many bytes through the tunnel, in both directions, checked by SHA-256 at both ends. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { Lab } from "../../src/lab/demo/Lab.ts"
import { appName, connectSallyport, connectWireguardGo, startWorld } from "../support/labWorld.ts"
import { inLab, inner } from "../support/lab.ts"

const size = 100_000_000
const smallSize = 20_000_000

/** Downloads with curl and yields the checksum that the server names and the one of what came. */
const download = Effect.fnUntraced(function* (address: string, bytes: number) {
  const lab = yield* Lab
  const headers = yield* lab.writeFile("headers", "")
  const literal = address.includes(":") ? `[${address}]` : address
  const text = yield* lab.exec(
    "client",
    ["sh", "-c", `curl -sS --max-time 60 -D ${headers} http://${literal}/bytes/${bytes} | sha256sum; cat ${headers}`],
    { timeout: "70 seconds" }
  )
  return {
    received: /^([0-9a-f]{64}) /.exec(text)?.[1],
    served: /^x-sha256: ([0-9a-f]{64})/m.exec(text)?.[1],
    servedBy: /^x-served-by: (\S+)/m.exec(text)?.[1]
  }
})

/** Uploads random bytes with curl and yields the checksum of what was sent and the server's of what came. */
const upload = Effect.fnUntraced(function* (address: string) {
  const lab = yield* Lab
  const file = yield* lab.writeFile("upload", "")
  yield* lab.exec("client", ["sh", "-c", `head -c ${size} /dev/urandom > ${file}`])
  const sum = yield* lab.exec("client", ["sha256sum", file])
  const answer = yield* lab.exec(
    "client",
    ["curl", "-sS", "--max-time", "60", "-H", "Expect:", "--data-binary", `@${file}`, `http://${address}/`],
    { timeout: "70 seconds" }
  )
  return { sent: sum.slice(0, 64), answer }
})

it.live(
  "a stock client downloads and uploads 100 MB through a name's proxy IP, every byte right",
  () =>
    Effect.gen(function* () {
      const world = yield* startWorld()
      yield* connectWireguardGo(world)
      const proxy = yield* world.proxyOf()

      const down = yield* download(proxy, size)
      const up = yield* upload(proxy)

      assert.isString(down.received)
      assert.deepStrictEqual(down, { received: down.served, served: down.served, servedBy: inner.origin.v4 })
      assert.deepStrictEqual(JSON.parse(up.answer), { bytes: size, sha256: up.sent })
    }).pipe(inLab),
  { timeout: 180_000 }
)

it.live(
  "`sallyport connect` as client downloads 20 MB over IPv6 and uploads 20 MB over IPv4, every byte right",
  () =>
    Effect.gen(function* () {
      const world = yield* startWorld()
      yield* connectSallyport(world)
      const v6 = yield* world.proxyOf(appName, "AAAA")
      const v4 = yield* world.proxyOf(appName, "A")

      const down = yield* download(v6, smallSize)
      const up = yield* world.visitor.upload({ address: v4, bytes: smallSize, timeout: 60_000 })

      assert.isString(down.received)
      assert.deepStrictEqual(down, { received: down.served, served: down.served, servedBy: inner.origin.v6 })
      assert.deepStrictEqual(up, { bytes: smallSize, sent: up.sent, sha256: up.sent })
    }).pipe(inLab),
  { timeout: 180_000 }
)
