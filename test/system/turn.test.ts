import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { formatTransport, transportAddress } from "../../src/packet/transportAddress.ts"
import { type CoturnOptions, startCoturn } from "../support/coturn.ts"
import { bindSocket, openRelaySockets, theRelay, until } from "../support/relaySockets.ts"

/** coturn on loopback at a port that was free a moment ago. */
const onLoopback = (port: number, options: Partial<CoturnOptions> = {}) =>
  startCoturn({ addresses: ["127.0.0.1", "::1"], port, ports: [port + 100, port + 199], ...options })

/** A peer that notes what arrives, and answers to where that came from. */
const openPeer = Effect.fnUntraced(function* (family: 4 | 6) {
  const socket = yield* bindSocket(family, 0)
  const arrived: Array<string> = []
  socket.on("message", (bytes, from) => {
    arrived.push(`${formatTransport(transportAddress(from.address, from.port)!)} ${bytes.toString()}`)
    socket.send(`answer to ${bytes.toString()}`, from.port, from.address)
  })
  return { address: transportAddress(family === 4 ? "127.0.0.1" : "::1", socket.address().port)!, arrived }
})

const allocated = (client: { readonly relays: { isAllocated: (relay: typeof theRelay) => boolean } }) =>
  until(10, "an allocation", () => client.relays.isAllocated(theRelay))

// They wait for the relays' own times, each with a relay of its own; the longest first.
describe("the TURN client with coturn", { concurrent: true }, () => {
  it.live(
    "loses a relay that is a black hole within 16 s of traffic, and has it back within 30 s of its return",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const coturn = yield* onLoopback(22_300)
          const client = yield* openRelaySockets(22_300)
          const peer = yield* openPeer(4)
          client.set("ann", "secret")
          yield* allocated(client)
          const handle = client.open(peer.address)
          yield* until(5, "bound", () => client.told.includes(`bound ${formatTransport(peer.address)}`))

          yield* coturn.suspend
          yield* until(16, "the relay is lost", () => {
            client.send(handle, "lost")
            return client.told.includes("relay lost: Unreachable")
          })
          yield* coturn.resume
          yield* until(30, "the relay is back", () => client.relays.isAllocated(theRelay))
          client.send(client.open(peer.address), "again")
          yield* until(5, "an answer", () => client.received.some((line) => line.endsWith("answer to again")))
        })
      ),
    60_000
  )

  it.live("keeps an allocation of 10 s lifetime and a nonce of 1 s without a gap", () =>
    Effect.scoped(
      Effect.gen(function* () {
        yield* onLoopback(21_700, { flags: ["--stale-nonce=1", "--max-allocate-lifetime=10"] })
        const client = yield* openRelaySockets(21_700)
        const peer = yield* openPeer(4)
        client.set("ann", "secret")
        yield* allocated(client)
        const handle = client.open(peer.address)

        yield* Effect.sleep("13 seconds")
        client.send(handle, "still there")
        yield* until(2, "an answer", () => client.received.length === 1)

        assert.isFalse(client.told.some((line) => line.startsWith("lost") || line.startsWith("relay lost")))
      })
    )
  )

  it.live("allocates both families, and data passes both ways through channels", () =>
    Effect.scoped(
      Effect.gen(function* () {
        yield* onLoopback(21_100)
        const client = yield* openRelaySockets(21_100)
        const peer4 = yield* openPeer(4)
        const peer6 = yield* openPeer(6)

        client.set("ann", "secret")
        yield* allocated(client)
        const relayed = [client.relayed(true), client.relayed(false)].map(formatTransport)
        // At once after the request: data may be sent before the binding is confirmed.
        client.send(client.open(peer4.address), "one")
        client.send(client.open(peer6.address), "two")
        yield* until(5, "answers", () => client.received.length === 2)

        assert.deepStrictEqual(peer4.arrived, [`${relayed[0]} one`])
        assert.deepStrictEqual(peer6.arrived, [`${relayed[1]} two`])
        assert.sameMembers(
          [...client.received],
          [`${formatTransport(peer4.address)} answer to one`, `${formatTransport(peer6.address)} answer to two`]
        )
      })
    )
  )

  it.live("is told that the credentials are wrong", () =>
    Effect.scoped(
      Effect.gen(function* () {
        yield* onLoopback(21_300)
        const client = yield* openRelaySockets(21_300)

        client.set("ann", "wrong")
        yield* until(5, "the relay is lost", () => client.told.includes("relay lost: WrongCredentials"))
        client.set("ann", "secret")
        yield* allocated(client)
      })
    )
  )

  it.live("is told that the relay will not talk to a peer", () =>
    Effect.scoped(
      Effect.gen(function* () {
        yield* onLoopback(21_500, { flags: ["--denied-peer-ip=127.0.0.99"] })
        const client = yield* openRelaySockets(21_500)
        client.set("ann", "secret")
        yield* allocated(client)

        const handle = client.open(transportAddress("127.0.0.99", 9)!)
        yield* until(5, "a refusal", () => client.told.includes("refused 127.0.0.99:9"))

        assert.isUndefined(client.relays.channels.get(handle))
        assert.isTrue(client.relays.isAllocated(theRelay))
      })
    )
  )

  it.live("takes over the port of its earlier life: the old allocation is given back", () =>
    Effect.scoped(
      Effect.gen(function* () {
        yield* onLoopback(21_900)
        const port = yield* Effect.scoped(
          Effect.gen(function* () {
            const first = yield* openRelaySockets(21_900)
            first.set("ann", "secret")
            yield* allocated(first)
            return first.port
          })
        )
        const second = yield* openRelaySockets(21_900, port)

        second.set("ann", "secret")
        yield* allocated(second)
      })
    )
  )

  it.live("has a new allocation within 12 s of coturn being killed and started again, under traffic", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const coturn = yield* onLoopback(22_100)
        const client = yield* openRelaySockets(22_100)
        const peer = yield* openPeer(4)
        client.set("ann", "secret")
        yield* allocated(client)
        const handle = client.open(peer.address)
        yield* until(5, "bound", () => client.told.includes(`bound ${formatTransport(peer.address)}`))
        const before = client.told.length

        yield* coturn.kill
        yield* coturn.start
        yield* until(12, "a new allocation", () => {
          client.send(handle, "lost")
          return client.told.slice(before).some((line) => line.startsWith("found relay"))
        })
        client.send(client.open(peer.address), "again")
        yield* until(5, "an answer", () => client.received.some((line) => line.endsWith("answer to again")))

        assert.isUndefined(client.relays.channels.get(handle))
        assert.isFalse(client.told.some((line) => line.startsWith("relay lost")))
      })
    )
  )
})
