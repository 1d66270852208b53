/** Our TURN client on real sockets and the real clock, on loopback. */
import { createSocket, type Socket } from "node:dgram"
import { once } from "node:events"
import { randomFillSync } from "node:crypto"
import { Effect, type Scope } from "effect"
import { channelHeaderLength, writeChannelHeader } from "../../src/ice/channelTable.ts"
import { Relays } from "../../src/ice/Relays.ts"
import { RelayId } from "../../src/model/Relay.ts"
import { copyWords, formatAddress, isIpv4 } from "../../src/packet/address.ts"
import { read16 } from "../../src/packet/bytes.ts"
import { makeEndpoint } from "../../src/packet/endpoint.ts"
import { formatTransport, type TransportAddress, transportAddress } from "../../src/packet/transportAddress.ts"

export const theRelay = RelayId.make("coturn")

export interface RelaySockets {
  readonly relays: Relays
  /** Everything told, as lines. */
  readonly told: ReadonlyArray<string>
  readonly received: ReadonlyArray<string>
  readonly port: number
  readonly set: (username: string, password: string) => void
  readonly open: (peer: TransportAddress) => number
  readonly send: (handle: number, text: string) => void
  readonly relayed: (v4: boolean) => TransportAddress
}

export const bindSocket = (family: 4 | 6, port: number): Effect.Effect<Socket, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const socket = createSocket({ type: family === 4 ? "udp4" : "udp6", ipv6Only: family === 6 })
      socket.bind(port, family === 4 ? "127.0.0.1" : "::1")
      await once(socket, "listening")
      return socket
    }),
    (socket) => Effect.sync(() => socket.close())
  )

/** Waits until it is so; fails after `seconds`. */
export const until = (seconds: number, what: string, condition: () => boolean): Effect.Effect<void> =>
  Effect.gen(function* () {
    for (let i = 0; i < seconds * 50; i++) {
      if (condition()) return
      yield* Effect.sleep("20 millis")
    }
    return yield* Effect.die(new Error(`not within ${seconds} s: ${what}`))
  })

/** A client of the relay at `port` on loopback. `ownPort` 0: any. */
export const openRelaySockets: (
  serverPort: number,
  ownPort?: number
) => Effect.Effect<RelaySockets, never, Scope.Scope> = Effect.fnUntraced(function* (serverPort, ownPort = 0) {
  const told: Array<string> = []
  const received: Array<string> = []
  const v4 = yield* bindSocket(4, ownPort)
  const { port } = v4.address()
  const v6 = yield* bindSocket(6, port)
  const transmit = (to: TransportAddress, bytes: Uint8Array) =>
    (isIpv4(to.address) ? v4 : v6).send(bytes, to.port, formatAddress(to.address))
  const relays = new Relays({
    families: { ipv4: true, ipv6: true },
    randomBytes: (out) => void randomFillSync(out),
    transmit,
    events: {
      found: (_, c) => told.push(`found ${c.kind} ${formatTransport(c.address)}`),
      lost: (_, c) => told.push(`lost ${c.kind} ${formatTransport(c.address)}`),
      relayLost: (_, reason) => told.push(`relay lost: ${reason}`),
      channelBound: (channel) => told.push(`bound ${formatTransport(channel.peer)}`),
      channelRefused: (channel) => told.push(`refused ${formatTransport(channel.peer)}`)
    }
  })
  const now = () => performance.now()
  for (const [socket, local] of [
    [v4, "127.0.0.1"],
    [v6, "::1"]
  ] as const) {
    socket.on("message", (bytes, { address, port: fromPort }) => {
      const from = transportAddress(address, fromPort)!
      const endpoint = makeEndpoint()
      copyWords(from.address, endpoint.remote)
      endpoint.port = fromPort
      const channel = relays.receiveData(bytes, 0, bytes.length, endpoint)
      if (channel === undefined) {
        relays.receive(bytes, 0, bytes.length, from, transportAddress(local, port)!, now())
      } else {
        const payload = bytes.subarray(channelHeaderLength, channelHeaderLength + read16(bytes, 2))
        received.push(`${formatTransport(channel.peer)} ${payload.toString()}`)
      }
    })
  }
  const timer = setInterval(() => {
    if (now() >= relays.nextDeadline()) relays.advance(now())
  }, 10)
  yield* Effect.addFinalizer(() => Effect.sync(() => clearInterval(timer)))
  return {
    relays,
    told,
    received,
    port,
    set: (username, password) =>
      relays.set(
        [
          {
            id: theRelay,
            addresses: ["127.0.0.1", "::1"].map((address) => ({ address, port: serverPort })),
            username,
            password
          }
        ],
        now()
      ),
    open: (peer) => relays.open(theRelay, peer, now()),
    send: (handle, text) => {
      const channel = relays.channels.get(handle)
      if (channel === undefined) return
      const payload = new TextEncoder().encode(text)
      const bytes = new Uint8Array(channelHeaderLength + payload.length)
      writeChannelHeader(bytes, 0, channel.number, payload.length)
      bytes.set(payload, channelHeaderLength)
      channel.sent = true
      transmit({ address: channel.server.remote, port: channel.server.port }, bytes)
    },
    relayed: (isV4) =>
      relays.candidates(theRelay).find((c) => c.kind === "relay" && isIpv4(c.address.address) === isV4)!.address
  }
})
