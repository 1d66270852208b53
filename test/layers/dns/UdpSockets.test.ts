/** Which port a question to a server leaves from. */
import * as dgram from "node:dgram"
import { readFileSync } from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { UdpSockets } from "../../../layers/dns/UdpSockets.ts"
import type { Timer } from "../../../src/loops/timers.ts"
import { Deadlines } from "../../../src/wireguard/timers.ts"
import type { ResolverServer } from "../../../src/model/ResolverSet.ts"

/** A server that says each datagram back, unless told to be silent, and sockets whose time the test says. */
const world = Effect.gen(function* () {
  const asked: Array<{ readonly id: number; readonly port: number }> = []
  const state = { now: 0, silent: false, wake: () => undefined as void }
  const socket = yield* Effect.acquireRelease(
    Effect.promise(async () => {
      const socket = dgram.createSocket("udp4")
      socket.on("message", (bytes, from) => {
        asked.push({ id: bytes.readUInt16BE(0), port: from.port })
        if (!state.silent) socket.send(bytes, from.port, from.address)
      })
      await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve))
      return socket
    }),
    (socket) => Effect.sync(() => socket.close())
  )
  const timers = new Deadlines<Timer>()
  const sockets = new UdpSockets({
    now: () => state.now,
    at: (when, run) => {
      const timer: Timer = { heapIndex: -1, deadline: 0, run }
      timers.atLatest(timer, when)
      return timer
    },
    callOff: (timer) => timers.remove(timer)
  })
  yield* Effect.addFinalizer(() => Effect.sync(() => sockets.closeAll()))
  const server: ResolverServer = { transport: "udp", address: "127.0.0.1", port: socket.address().port }
  const heard: Array<number> = []
  const failed: Array<string> = []
  const forgets: Array<() => void> = []
  const send = (id: number, how: "send" | "sendAlone" = "send", to = server, bytes = 2): void => {
    const query = new Uint8Array(bytes)
    query.set([id >> 8, id & 255])
    forgets.push(
      sockets[how](to, query, {
        heard: (bytes) => {
          heard.push((bytes[0]! << 8) | bytes[1]!)
          state.wake()
        },
        failed: (cause) => failed.push(cause)
      })
    )
  }
  const passes = (ms: number): void => {
    state.now += ms
    for (let due = timers.takeDue(state.now); due !== undefined; due = timers.takeDue(state.now)) due.run()
  }
  const end = (): void => {
    for (const forget of forgets.splice(0)) forget()
  }
  /** Sends one after the other, each when the last one is answered. */
  const inTurn = Effect.fnUntraced(function* (count: number, gapMs: number) {
    for (let i = 0; i < count; i++) {
      yield* Effect.callback<void>((resume) => {
        state.wake = () => resume(Effect.void)
        send(i)
      })
      end()
      passes(gapMs)
    }
  })
  const ports = () => new Set(asked.map(({ port }) => port))
  /** What nobody has asked for, from the server to one of its askers. */
  const intrude = (port: number): void => socket.send(Uint8Array.of(255, 255, 0), port, "127.0.0.1")
  return { asked, end, failed, heard, intrude, inTurn, ports, send, server, state }
})

const until = (condition: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => (condition() ? Effect.void : Effect.fail("not yet"))).pipe(
    Effect.retry(Schedule.spaced("5 millis").pipe(Schedule.upTo({ times: 4_000 }))),
    Effect.orDie
  )

/** Whether a socket with this port is connected to the server. Another program may have the same port by then. */
const isConnected = (port: number, server: ResolverServer): boolean => {
  const hex = (number: number) => number.toString(16).toUpperCase().padStart(4, "0")
  return new RegExp(`^ *\\d+: [0-9A-F]{8}:${hex(port)} [0-9A-F]{8}:${hex(server.port)} `, "m").test(
    readFileSync("/proc/net/udp", "utf8")
  )
}

describe("the port of a question to a server", () => {
  it.live("is its own where questions come a second apart, and is closed then", () =>
    Effect.gen(function* () {
      const { asked, inTurn, ports, server } = yield* world
      yield* inTurn(8, 1_000)
      // The kernel may choose one again.
      assert.isAtLeast(ports().size, 7)
      for (const { port } of asked) assert.isFalse(isConnected(port, server))
    }).pipe(Effect.scoped)
  )

  it.live(
    "is its own of 16 questions at once; of more, each of these takes some, and each question gets its answer",
    () =>
      Effect.gen(function* () {
        const { heard, ports, send } = yield* world
        for (let id = 0; id < 16; id++) send(id * 257)
        yield* until(() => heard.length === 16)
        assert.strictEqual(ports().size, 16)
        for (let id = 16; id < 160; id++) send(id * 257)
        yield* until(() => heard.length === 160)
        assert.deepStrictEqual(
          heard.toSorted((a, b) => a - b),
          Array.from({ length: 160 }, (_, id) => id * 257)
        )
        assert.strictEqual(ports().size, 16)
      }).pipe(Effect.scoped)
  )

  it.live("takes 64 questions at most", () =>
    Effect.gen(function* () {
      const { asked, inTurn, ports } = yield* world
      yield* inTurn(1_600, 0)
      const uses = [...ports()].map((port) => asked.filter((one) => one.port === port).length)
      // Without a limit each of 16 would take 100. The kernel may choose one again.
      assert.isAtMost(uses.filter((count) => count > 64).length, 1)
      assert.isAtLeast(Math.max(...uses), 32)
    }).pipe(Effect.scoped)
  )

  it.live("takes no more questions once something has come there that nobody waits for", () =>
    Effect.gen(function* () {
      const { asked, inTurn, intrude, server } = yield* world
      yield* inTurn(1, 0)
      const { port } = asked[0]!
      assert.isTrue(isConnected(port, server))
      intrude(port)
      yield* until(() => !isConnected(port, server))
    }).pipe(Effect.scoped)
  )

  it.live("is its own for a datagram that is sent again, and for a question whose id another one has there", () =>
    Effect.gen(function* () {
      const { heard, ports, send } = yield* world
      for (let i = 0; i < 40; i++) send(i, "sendAlone")
      for (let i = 0; i < 40; i++) send(7)
      yield* until(() => heard.length === 80)
      assert.strictEqual(ports().size, 80)
    }).pipe(Effect.scoped)
  )

  it.live("is closed at once where no answer came", () =>
    Effect.gen(function* () {
      const { asked, end, send, server, state } = yield* world
      state.silent = true
      for (let i = 0; i < 20; i++) send(i)
      yield* until(() => asked.length === 20)
      end()
      for (const { port } of asked) assert.isFalse(isConnected(port, server))
    }).pipe(Effect.scoped)
  )

  it.live(
    "is another one for all that wait where something cannot be sent: that fails, and they have their answers",
    () =>
      Effect.gen(function* () {
        const { asked, failed, heard, ports, send, server, state } = yield* world
        state.silent = true
        for (let id = 0; id < 64; id++) send(id)
        yield* until(() => asked.length === 64)
        state.silent = false
        // More than any datagram holds.
        send(99, "send", server, 70_000)
        yield* until(() => failed.length === 1 && heard.length > 0 && heard.length === asked.length - 64)
        assert.deepStrictEqual(failed, ["EMSGSIZE"])
        const port = asked.find(({ id }) => id === heard[0])?.port
        const waited = asked.slice(0, 64).filter((one) => one.port === port)
        assert.deepStrictEqual(
          waited.map(({ id }) => id).toSorted((a, b) => a - b),
          heard.toSorted((a, b) => a - b)
        )
        assert.strictEqual(ports().size, 16 + heard.length)
      }).pipe(Effect.scoped)
  )

  it.live("tells all questions that wait there that nobody listens", () =>
    Effect.gen(function* () {
      const { failed, send, server } = yield* world
      const nobody = { ...server, port: 9 }
      for (let i = 0; i < 64; i++) send(i, "send", nobody)
      yield* until(() => failed.length >= 64)
      assert.lengthOf(failed, 64)
      assert.deepStrictEqual(new Set(failed), new Set(["ECONNREFUSED"]))
    }).pipe(Effect.scoped)
  )
})
