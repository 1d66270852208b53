import * as dgram from "node:dgram"
import * as net from "node:net"
import { assert, describe, it, vi } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import type { DnsHandler, DnsReply, DnsService } from "../../../src/host/DnsSockets.ts"
import { DnsSockets } from "../../../src/host/DnsSockets.ts"
import { IpFamilies } from "../../../src/host/IpFamilies.ts"
import type { DnsSocketsOptions } from "../../../layers/host/DnsSockets.ts"
import * as DnsSocketsLive from "../../../layers/host/DnsSockets.ts"
import * as IpFamiliesLive from "../../../layers/host/IpFamilies.ts"
import { defectCounts } from "../../../src/loops/outlive.ts"
import { NativeError, openServerSocket } from "../../../layers/dataplane/native/fds.ts"

/** Answers with the query behind its transport's first letter; nothing to an empty query. */
const echo = (...[query, , transport]: Parameters<DnsHandler>): Effect.Effect<DnsReply> =>
  Effect.succeed(query.length === 0 ? null : Uint8Array.from([transport.charCodeAt(0), ...query]))

const serve = (handler: DnsHandler, more: Partial<DnsService> = {}) =>
  DnsSockets.use((sockets) => sockets.serve({ addresses: ["127.0.0.1"], port: 0, device: null, handler, ...more }))

const using =
  (options: DnsSocketsOptions = {}) =>
  <A, E>(body: Effect.Effect<A, E, DnsSockets | IpFamilies | Scope.Scope>): Effect.Effect<A, E> =>
    body.pipe(Effect.scoped, Effect.provide(Layer.provideMerge(DnsSocketsLive.layer(options), IpFamiliesLive.layer)))

const counter = (name: string) =>
  DnsSockets.use((sockets) => Effect.map(sockets.counters, (counters) => counters[name]!))

const udpClientOf = (type: "udp4" | "udp6") =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const socket = dgram.createSocket(type)
      const received: Array<string> = []
      socket.on("message", (bytes) => received.push(bytes.toString()))
      return { socket, received }
    }),
    ({ socket }) => Effect.sync(() => socket.close())
  )
const udpClient = udpClientOf("udp4")
const udpClient6 = udpClientOf("udp6")

const framed = (...texts: ReadonlyArray<string>): Buffer =>
  Buffer.concat(texts.flatMap((text) => [Buffer.from([text.length >> 8, text.length & 255]), Buffer.from(text)]))

/** The UDP sockets that are bound from now on: what they are to have received can be made up. */
const boundUdp = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => vi.spyOn(dgram.Socket.prototype, "bind")),
    (bind) => Effect.sync(() => bind.mockRestore())
  ),
  (bind) => () => bind.mock.contexts.filter((socket) => socket instanceof dgram.Socket)
)

/** A connection that collects what comes and remembers its end. */
const tcpClient = (port: number, localAddress = "127.0.0.1") =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const socket = net.connect({ port, host: "127.0.0.1", localAddress, allowHalfOpen: true })
      const client = { socket, text: "", closed: false }
      socket.on("data", (bytes: Buffer) => {
        client.text += bytes.toString()
      })
      socket.on("error", () => undefined)
      socket.on("end", () => {
        client.closed = true
      })
      socket.on("close", () => {
        client.closed = true
      })
      return client
    }),
    ({ socket }) =>
      Effect.sync(() => {
        socket.destroy()
      })
  )

/** Looks at a condition, 5 ms apart: 20 s and more. */
const patience = 4_000

const eventually = (condition: () => boolean) =>
  Effect.gen(function* () {
    for (let i = 0; !condition(); i++) {
      assert.isBelow(i, patience, "in time")
      yield* Effect.sleep(5)
    }
  })

const eventuallyCounts = (name: string, expected: number) =>
  Effect.gen(function* () {
    for (let i = 0; (yield* counter(name)) !== expected; i++) {
      assert.isBelow(i, patience, `${name} is ${yield* counter(name)}`)
      yield* Effect.sleep(5)
    }
  })

describe("DnsSockets over UDP", () => {
  it.live("hands each datagram to the handler with its source and sends the answer back", () =>
    Effect.gen(function* () {
      const sources: Array<string> = []
      const [at] = yield* serve((query, source, transport) => {
        sources.push(`${source.address}:${source.port}`)
        return echo(query, source, transport)
      })
      const { received, socket } = yield* udpClient
      socket.send("one", at!.port, "127.0.0.1")
      yield* eventually(() => received.length === 1)

      assert.deepStrictEqual(received, ["uone"])
      assert.deepStrictEqual(sources, [`127.0.0.1:${socket.address().port}`])
    }).pipe(using())
  )

  it.live("sends nothing for null, and goes on after a handler's defect", () =>
    Effect.gen(function* () {
      const [at] = yield* serve((query, source, transport) =>
        query.length === 3 ? Effect.die("bug") : echo(query, source, transport)
      )
      const { received, socket } = yield* udpClient
      socket.send("", at!.port, "127.0.0.1")
      socket.send("bug", at!.port, "127.0.0.1")
      socket.send("fine", at!.port, "127.0.0.1")
      yield* eventually(() => received.length > 0)
      assert.deepStrictEqual(received, ["ufine"])
    }).pipe(using())
  )

  it.live("what a handler says at once is sent at once, and its defect harms nobody", () =>
    Effect.gen(function* () {
      const [at] = yield* serve((query) => {
        if (query.length === 3) throw new Error("bug")
        return query.length === 4 ? null : query
      })
      const { port } = at!
      const { received, socket } = yield* udpClient
      for (const text of ["bug", "none", "known"]) socket.send(text, port, "127.0.0.1")
      yield* eventually(() => received.length > 0)
      const client = yield* tcpClient(port)
      client.socket.write(framed("known"))
      yield* eventually(() => client.text.endsWith("known"))
      client.socket.write(framed("none"))
      yield* eventually(() => client.closed)
      assert.deepStrictEqual(received, ["known"])
    }).pipe(using())
  )

  it.live("what a handler says later is sent then, whichever way it says it; its defect harms nobody", () =>
    Effect.gen(function* () {
      const [at] = yield* serve((query) => (tell) => {
        if (query.length === 3) throw new Error("bug")
        const timer = setTimeout(() => tell(query.length === 6 ? Effect.succeed(query) : query), 10)
        return () => clearTimeout(timer)
      })
      const { port } = at!
      const { received, socket } = yield* udpClient
      for (const text of ["bug", "fibers", "later"]) socket.send(text, port, "127.0.0.1")
      yield* eventually(() => received.length === 2)
      assert.deepStrictEqual(received, ["fibers", "later"])
      const client = yield* tcpClient(port)
      client.socket.write(framed("later"))
      yield* eventually(() => client.text.endsWith("later"))
    }).pipe(using())
  )

  it.live("a query that waits for what is said later has a place until then", () =>
    Effect.gen(function* () {
      const waiting: Array<() => void> = []
      const [at] = yield* serve((query) => (tell) => {
        if (query.length === 3) throw new Error("bug")
        waiting.push(() => tell(query))
        return () => undefined
      })
      const { received, socket } = yield* udpClient
      // A source has no more than are left free beside it.
      for (let i = 0; i < 3; i++) socket.send("later", at!.port, "127.0.0.1")
      yield* eventuallyCounts("udp_dropped", 1)
      for (const tell of waiting.splice(0)) tell()
      yield* eventually(() => received.length === 2)
      socket.send("bug", at!.port, "127.0.0.1")
      for (let i = 0; i < 2; i++) socket.send("later", at!.port, "127.0.0.1")
      yield* eventually(() => waiting.length === 2)
      assert.strictEqual(yield* counter("udp_dropped"), 1)
    }).pipe(using({ maxInFlight: 4 }))
  )

  it.live("what comes from port 0, where nothing can be sent to, is dropped and counted", () =>
    Effect.gen(function* () {
      let asked = 0
      const sockets = yield* boundUdp
      yield* serve((query) => (asked++, query))
      sockets()[0]!.emit("message", Buffer.from("q"), { address: "127.0.0.1", family: "IPv4", port: 0, size: 1 })
      assert.deepStrictEqual([asked, yield* counter("udp_dropped")], [0, 1])
    }).pipe(using())
  )

  it.live("what waits for its turn when the sockets close is not begun, whatever its answer", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const defects = yield* defectCounts
      const run = Effect.runForkWith(yield* Effect.context())
      let begun = 0
      const sockets = yield* boundUdp
      yield* serve((query) => {
        // The first that has waited.
        if (++begun === 17) run(Scope.close(scope, Exit.void))
        return query
      }).pipe(Scope.provide(scope))
      // All in one turn, as they may come; nobody is there for the answers.
      const from = { address: "127.0.0.1", family: "IPv4", port: 9, size: 1 }
      for (let i = 0; i < 30; i++) sockets()[0]!.emit("message", Buffer.from("q"), from)
      yield* eventually(() => begun === 17)
      yield* Scope.close(scope, Exit.void)
      yield* Effect.sleep(20)
      assert.deepStrictEqual([begun, yield* defectCounts], [17, defects])
    }).pipe(using())
  )

  it.live("more queries than may be in flight are dropped and counted; later ones are answered", () =>
    Effect.gen(function* () {
      const gate = yield* Latch.make()
      const [at] = yield* serve((...args) => gate.whenOpen(echo(...args)))
      const { received, socket } = yield* udpClient
      for (let i = 0; i < 9; i++) socket.send(`q${i}`, at!.port, "127.0.0.1")
      yield* eventuallyCounts("udp_dropped", 5)
      assert.strictEqual(yield* counter("udp_queries"), 4)

      yield* gate.open
      yield* eventually(() => received.length === 4)
      socket.send("later", at!.port, "127.0.0.1")
      yield* eventually(() => received.includes("ulater"))
    }).pipe(using({ maxInFlight: 8 }))
  )

  it.live("a source that asks too much leaves room for others", () =>
    Effect.gen(function* () {
      const gate = yield* Latch.make()
      const [at] = yield* serve((...args) => gate.whenOpen(echo(...args)))
      const greedy = yield* udpClient
      const other = yield* udpClient
      yield* Effect.promise(() => new Promise<void>((resolve) => other.socket.bind(0, "127.0.0.2", () => resolve())))
      for (let i = 0; i < 20; i++) greedy.socket.send(`q${i}`, at!.port, "127.0.0.1")
      yield* eventuallyCounts("udp_dropped", 16)
      other.socket.send("other", at!.port, "127.0.0.1")
      yield* eventuallyCounts("udp_queries", 5)
      yield* gate.open
      yield* eventually(() => other.received.length === 1 && greedy.received.length === 4)
    }).pipe(using({ maxInFlight: 8 }))
  )

  it.live("a burst at two addresses at a time takes no places for good: what has none to wait in is dropped", () =>
    Effect.gen(function* () {
      const ports = (yield* serve((query) => query, { addresses: ["127.0.0.1", "127.0.0.2"] })).map(({ port }) => port)
      const { received, socket } = yield* udpClient
      const ask = (text: string) => ports.forEach((port, i) => socket.send(text, port, `127.0.0.${i + 1}`))
      const heard = Effect.zipWith(counter("udp_queries"), counter("udp_dropped"), (taken, dropped) => taken + dropped)
      for (let burst = 1; burst <= 3; burst++) {
        for (let i = 0; i < 40; i++) ask("burst")
        for (let i = 0; (yield* heard) < burst * 80; i++) {
          assert.isBelow(i, patience, "in time")
          yield* Effect.sleep(5)
        }
        yield* Effect.sleep(20)
      }
      assert.isAbove(yield* counter("udp_dropped"), 0)
      ask("last")
      yield* eventually(() => received.filter((text) => text === "last").length === 2)
    }).pipe(using({ maxInFlight: 8 }))
  )

  it.live("what one source asks in a burst holds up no other's query: they begin in turn", () =>
    Effect.gen(function* () {
      const begun: Array<string> = []
      const [at] = yield* serve((bytes) =>
        Effect.sync((): DnsReply => {
          begun.push(Buffer.from(bytes).toString())
          // As long as a question about a new name takes.
          const until = performance.now() + 1
          while (performance.now() < until);
          return null
        })
      )
      const [greedy, other] = [yield* udpClient, yield* udpClient]
      const bind = ({ socket }: typeof greedy, address: string) =>
        Effect.promise(() => new Promise<void>((resolve) => socket.bind(0, address, () => resolve())))
      yield* Effect.andThen(bind(greedy, "127.0.0.1"), bind(other, "127.0.0.2"))
      for (let i = 0; i < 150; i++) greedy.socket.send(`q${i}`, at!.port, "127.0.0.1")
      other.socket.send("other", at!.port, "127.0.0.1")
      yield* eventually(() => begun.length === 151)

      assert.isBelow(begun.indexOf("other"), 100)
      assert.strictEqual(yield* counter("udp_dropped"), 0)
    }).pipe(using())
  )
})

describe("DnsSockets over TCP", () => {
  it.live("answers framed queries, also in pieces and several in one segment", () =>
    Effect.gen(function* () {
      const [at] = yield* serve(echo)
      const client = yield* tcpClient(at!.port)
      const bytes = framed("one", "two", "three")
      client.socket.write(bytes.subarray(0, 1))
      yield* Effect.sleep(20)
      client.socket.write(bytes.subarray(1, 4))
      yield* Effect.sleep(20)
      client.socket.write(bytes.subarray(4))
      yield* eventually(() => client.text.length === framed("tone", "ttwo", "tthree").length)
      assert.strictEqual(client.text, framed("tone", "ttwo", "tthree").toString())
    }).pipe(using())
  )

  it.live("a slow answer does not hold up a quick one of the same connection", () =>
    Effect.gen(function* () {
      const gate = yield* Latch.make()
      const [at] = yield* serve((...args) => (args[0].length === 4 ? gate.whenOpen(echo(...args)) : echo(...args)))
      const client = yield* tcpClient(at!.port)
      client.socket.write(framed("slow", "quick"))
      yield* eventually(() => client.text === framed("tquick").toString())
      yield* gate.open
      yield* eventually(() => client.text === framed("tquick", "tslow").toString())
    }).pipe(using())
  )

  it.live("a client that ended its side still gets its answers, then the end", () =>
    Effect.gen(function* () {
      const gate = yield* Latch.make()
      const [at] = yield* serve((...args) => gate.whenOpen(echo(...args)))
      const client = yield* tcpClient(at!.port)
      client.socket.end(framed("one"))
      yield* eventuallyCounts("tcp_queries", 1)
      yield* Effect.sleep(30)
      assert.isFalse(client.closed)
      yield* gate.open
      yield* eventually(() => client.closed)
      assert.strictEqual(client.text, framed("tone").toString())
    }).pipe(using())
  )

  it.live("pipelining is bounded: reading stops at the limit and goes on when answers are out", () =>
    Effect.gen(function* () {
      const gate = yield* Latch.make()
      const [at] = yield* serve((...args) => gate.whenOpen(echo(...args)))
      const client = yield* tcpClient(at!.port)
      client.socket.write(framed(...Array.from({ length: 20 }, (_, i) => `q${i % 10}`)))
      yield* eventuallyCounts("tcp_queries", 8)
      yield* Effect.sleep(50)
      assert.strictEqual(yield* counter("tcp_queries"), 8)
      yield* gate.open
      yield* eventually(() => client.text.length === 20 * 5)
      assert.strictEqual(yield* counter("tcp_queries"), 20)
    }).pipe(using({ tcp: { maxPipelined: 8 } }))
  )

  it.live("a silent connection is closed after the idle time; bytes that make no query do not help", () =>
    Effect.gen(function* () {
      const [at] = yield* serve(echo)
      const silent = yield* tcpClient(at!.port)
      const dripping = yield* tcpClient(at!.port)
      const drip = yield* Effect.forkChild(
        Effect.forever(
          Effect.andThen(
            Effect.sync(() => dripping.socket.write(Buffer.from([1]))),
            Effect.sleep(20)
          )
        )
      )
      yield* eventually(() => silent.closed && dripping.closed)
      yield* Fiber.interrupt(drip)
      assert.strictEqual(yield* counter("tcp_closed_idle"), 2)
    }).pipe(using({ tcp: { idleMs: 100 } }))
  )

  it.live("a connection whose query is being answered is not idle", () =>
    Effect.gen(function* () {
      const [at] = yield* serve((...args) => Effect.delay(echo(...args), 250))
      const client = yield* tcpClient(at!.port)
      client.socket.write(framed("one"))
      yield* eventually(() => client.text === framed("tone").toString())
    }).pipe(using({ tcp: { idleMs: 80 } }))
  )

  it.live("a client that does not read its answers is cut off", () =>
    Effect.gen(function* () {
      const [at] = yield* serve(() => Effect.succeed(new Uint8Array(65_535)))
      const client = yield* tcpClient(at!.port)
      client.socket.pause()
      yield* Effect.forkChild(
        Effect.forever(
          Effect.andThen(
            Effect.sync(() => client.socket.writable && client.socket.write(framed("more"))),
            Effect.sleep(1)
          )
        )
      )
      yield* eventuallyCounts("tcp_closed_unread", 1)
      // Its place is free again.
      let free = false
      for (let i = 0; i < 100 && !free; i++) {
        const next = yield* tcpClient(at!.port)
        next.socket.write(framed("x"))
        yield* Effect.sleep(30)
        free = next.text.length > 0
      }
      assert.isTrue(free)
    }).pipe(using({ tcp: { idleMs: 100, maxPerSource: 1 } }))
  )

  it.live("a client that asks for much and reads nothing is cut off before the gateway holds much of it", () =>
    Effect.gen(function* () {
      const [at] = yield* serve(() => Effect.succeed(new Uint8Array(65_535)))
      const client = yield* tcpClient(at!.port)
      client.socket.pause()
      for (let i = 0; i < 2_000; i++) client.socket.write(framed("more"))
      yield* eventuallyCounts("tcp_closed_unread", 1)
    }).pipe(using({ tcp: { maxUnreadBytes: 1_000_000 } }))
  )

  it.live("what gets no answer ends its connection: a flood costs the one who makes it a new one each time", () =>
    Effect.gen(function* () {
      const [at] = yield* serve(echo)
      const client = yield* tcpClient(at!.port)
      client.socket.write(framed("one"))
      yield* eventually(() => client.text === framed("tone").toString())
      client.socket.write(framed(""))
      yield* eventually(() => client.closed)
      assert.strictEqual(yield* counter("tcp_closed_unanswered"), 1)
    }).pipe(using())
  )

  it.live("a query that is too long closes the connection", () =>
    Effect.gen(function* () {
      const [at] = yield* serve(echo)
      const client = yield* tcpClient(at!.port)
      client.socket.write(Buffer.from([0xff, 0xff]))
      yield* eventually(() => client.closed)
      assert.strictEqual(yield* counter("tcp_closed_oversize"), 1)
    }).pipe(using())
  )

  it.live("connections at work are bounded per source and in all; places become free again", () =>
    Effect.gen(function* () {
      const gate = yield* Latch.make()
      const [at] = yield* serve((...args) => gate.whenOpen(echo(...args)))
      const asking = Effect.fnUntraced(function* (source: string, queries: number) {
        const client = yield* tcpClient(at!.port, source)
        client.socket.write(framed("hi"))
        yield* eventuallyCounts("tcp_queries", queries)
        return client
      })
      const first = yield* asking("127.0.0.1", 1)
      yield* asking("127.0.0.1", 2)
      const third = yield* tcpClient(at!.port)
      yield* eventually(() => third.closed)
      assert.strictEqual(yield* counter("tcp_refused"), 1)

      // Five places: with two taken there are three beside them, with four taken one.
      yield* asking("127.0.0.2", 3)
      yield* asking("127.0.0.3", 4)
      const over = yield* tcpClient(at!.port, "127.0.0.2")
      yield* eventually(() => over.closed)
      assert.strictEqual(yield* counter("tcp_refused"), 2)
      yield* asking("127.0.0.4", 5)
      const overAll = yield* tcpClient(at!.port, "127.0.0.5")
      yield* eventually(() => overAll.closed)

      yield* gate.open
      yield* eventually(() => first.text === framed("thi").toString())
      const again = yield* tcpClient(at!.port)
      again.socket.write(framed("hi"))
      yield* eventually(() => again.text === framed("thi").toString())
    }).pipe(using({ tcp: { maxPerSource: 2, maxConnections: 5 } }))
  )

  it.live("an idle connection makes room for a new one: the source's longest idle first, never one at work", () =>
    Effect.gen(function* () {
      const gate = yield* Latch.make()
      const [at] = yield* serve((...args) => (args[0].length === 4 ? gate.whenOpen(echo(...args)) : echo(...args)))
      const busy = yield* tcpClient(at!.port)
      busy.socket.write(framed("slow"))
      yield* eventuallyCounts("tcp_queries", 1)
      const first = yield* tcpClient(at!.port)
      yield* eventuallyCounts("tcp_connections", 2)
      const second = yield* tcpClient(at!.port)
      yield* eventuallyCounts("tcp_connections", 3)
      // The first becomes the one that was idle last.
      first.socket.write(framed("hi"))
      yield* eventually(() => first.text === framed("thi").toString())

      const third = yield* tcpClient(at!.port)
      yield* eventually(() => second.closed)
      third.socket.write(framed("new"))
      yield* eventually(() => third.text === framed("tnew").toString())
      assert.isFalse(first.closed || busy.closed)

      // All places are taken: a source without any gets the longest idle one's.
      for (const source of ["127.0.0.2", "127.0.0.2", "127.0.0.3"]) yield* tcpClient(at!.port, source)
      yield* eventuallyCounts("tcp_connections", 7)
      const stranger = yield* tcpClient(at!.port, "127.0.0.4")
      yield* eventually(() => first.closed)
      stranger.socket.write(framed("hi"))
      yield* eventually(() => stranger.text === framed("thi").toString())
      yield* gate.open
      yield* eventually(() => busy.text === framed("tslow").toString())
      assert.deepStrictEqual([yield* counter("tcp_closed_for_new"), yield* counter("tcp_refused")], [2, 0])
    }).pipe(using({ tcp: { maxPerSource: 3, maxConnections: 6 } }))
  )

  it.live("a client has 100 connections at a time, each with its questions", () =>
    Effect.gen(function* () {
      const [at] = yield* serve(echo)
      const clients = yield* Effect.forEach(Array.from({ length: 100 }), () => tcpClient(at!.port))
      for (const { socket } of clients) socket.write(framed("one", "two"))
      yield* eventually(() => clients.every(({ text }) => text === framed("tone", "ttwo").toString()))
      assert.deepStrictEqual([yield* counter("tcp_refused"), yield* counter("tcp_closed_for_new")], [0, 0])
    }).pipe(using())
  )
})

describe("DnsSockets, binding", () => {
  it.live("every address gets both transports, IPv6 as well", () =>
    Effect.gen(function* () {
      const bound = yield* serve(echo, { addresses: ["127.0.0.1", "::1"] })
      assert.deepStrictEqual(
        bound.map((b) => b.address),
        ["127.0.0.1", "::1"]
      )
      const client = yield* tcpClient(bound[0]!.port)
      client.socket.write(framed("a"))
      yield* eventually(() => client.text.length > 0)
    }).pipe(using())
  )

  it.live("a taken port is one line with the cause and the fix", () =>
    Effect.gen(function* () {
      const [at] = yield* serve(echo)
      const error = yield* Effect.flip(serve(echo, { port: at!.port }))
      assert.strictEqual(
        error.message,
        `TCP 127.0.0.1:${at!.port} is taken: a DNS server of the host may listen on every address; ` +
          "bind it to its own addresses"
      )
    }).pipe(using())
  )

  it.live("a port taken for UDP only is found out too, and the TCP socket is given back", () =>
    Effect.gen(function* () {
      const { socket } = yield* udpClient
      yield* Effect.promise(() => new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", () => resolve())))
      const { port } = socket.address()
      const error = yield* Effect.flip(Effect.scoped(serve(echo, { port })))
      assert.match(error.message, /^UDP .* is taken/)
      const free = net.createServer()
      yield* Effect.promise(() => new Promise<void>((resolve) => free.listen(port, "127.0.0.1", () => resolve())))
      free.close()
    }).pipe(using())
  )

  it.live("an address that the host does not have is given up after three more tries", () =>
    Effect.gen(function* () {
      const start = performance.now()
      const error = yield* Effect.flip(serve(echo, { addresses: ["192.0.2.1"], port: 5355 }))
      assert.match(error.message, /TCP 192\.0\.2\.1:5355 .*the address is not on any interface/)
      assert.isAtLeast(performance.now() - start, 290)
    }).pipe(using())
  )

  it.live("sockets that were bound to a device outside of Node serve as well", () =>
    Effect.gen(function* () {
      const bound = yield* serve(echo, { addresses: ["127.0.0.1", "::1"], device: "lo" })
      for (const [i, type] of (["udp4", "udp6"] as const).entries()) {
        const socket = dgram.createSocket(type)
        const received: Array<string> = []
        socket.on("message", (bytes) => received.push(bytes.toString()))
        socket.send("one", bound[i]!.port, bound[i]!.address)
        yield* eventually(() => received.length > 0)
        assert.deepStrictEqual(received, ["uone"])
        socket.close()
      }
      const client = yield* tcpClient(bound[0]!.port)
      client.socket.write(framed("two"))
      yield* eventually(() => client.text === framed("ttwo").toString())
    }).pipe(using())
  )

  it.live("a device that does not exist, and a port that is taken, are said in one line", () =>
    Effect.gen(function* () {
      const missing = yield* Effect.flip(serve(echo, { device: "none0" }))
      assert.match(missing.message, /none0/)
      const [at] = yield* serve(echo)
      const taken = yield* Effect.flip(serve(echo, { port: at!.port }))
      assert.match(taken.message, /taken/)
      for (const { message } of [missing, taken]) assert.notInclude(message, "\n")
    }).pipe(using())
  )

  it.live("an address that comes up a moment later is tried again", () =>
    Effect.gen(function* () {
      let tries = 0
      const openSocket: typeof openServerSocket = (options) =>
        ++tries <= 3 ? new NativeError("bind", "EADDRNOTAVAIL", "not yet") : openServerSocket(options)
      const [at] = yield* serve(echo).pipe(Effect.provide(DnsSocketsLive.layer({ openSocket })))
      assert.isAbove(at!.port, 0)
      assert.strictEqual(tries, 5)
    }).pipe(using())
  )

  it.live("an IPv6 address is served whenever the device has IPv6, and IPv4 always", () =>
    Effect.gen(function* () {
      const families = yield* IpFamilies
      yield* families.found("device", "IPv6 is off")
      const bound = yield* serve(echo, { addresses: ["::1", "127.0.0.1"] })
      assert.deepStrictEqual(
        bound.map(({ address }) => address),
        ["127.0.0.1"]
      )
      const { port } = bound[0]!
      yield* serve(echo, { addresses: ["::1"], port })
      const answers = (has: boolean) =>
        Effect.gen(function* () {
          const client = yield* udpClient6
          yield* eventually(() => {
            client.socket.send("one", port, "::1")
            return client.received.length > 0
          })
        }).pipe(Effect.scoped, Effect.timeoutOption(has ? 5_000 : 300), Effect.map(Option.isSome))

      assert.isFalse(yield* answers(false))
      yield* families.found("device", null)
      assert.isTrue(yield* answers(true))
      yield* families.found("device", "IPv6 is off again")
      assert.isFalse(yield* answers(false))
    }).pipe(using())
  )

  for (const errno of ["EADDRNOTAVAIL", "EAFNOSUPPORT"]) {
    it.live(`a host that says ${errno} to IPv6 does not end the service of IPv4`, () =>
      Effect.gen(function* () {
        const bound = yield* serve(echo, { addresses: ["127.0.0.1", "::1"] })
        assert.deepStrictEqual(
          bound.map(({ address }) => address),
          ["127.0.0.1"]
        )
      }).pipe(
        using({
          openSocket: (options) =>
            options.address === "::1"
              ? new NativeError("bind", errno, "nothing of the kind")
              : openServerSocket(options)
        })
      )
    )
  }

  it.live("an IPv6 port that another server has is an error like any other", () =>
    Effect.gen(function* () {
      const [at] = yield* serve(echo, { addresses: ["::1"] })
      const taken = yield* Effect.flip(serve(echo, { addresses: ["::1"], port: at!.port }))
      assert.match(taken.message, /taken/)
    }).pipe(using())
  )

  it.live("closing the scope closes sockets, connections and handlers, and frees the port", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const interrupted = yield* Deferred.make<void>()
      const [at] = yield* serve(() =>
        Effect.onInterrupt(Effect.never, () => Deferred.succeed(interrupted, undefined))
      ).pipe(Scope.provide(scope))
      const client = yield* tcpClient(at!.port)
      client.socket.write(framed("hang"))
      yield* eventuallyCounts("tcp_queries", 1)

      yield* Scope.close(scope, Exit.void)

      yield* Deferred.await(interrupted)
      yield* eventually(() => client.closed)
      assert.deepStrictEqual(yield* serve(echo, { port: at!.port }), [at!])
    }).pipe(using())
  )
})
