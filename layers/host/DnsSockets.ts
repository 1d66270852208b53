import * as dgram from "node:dgram"
import * as net from "node:net"
import * as Effect from "effect/Effect"
import * as Deferred from "effect/Deferred"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { rcodeText } from "../../src/dns/registry.ts"
import {
  type DnsHandler,
  type DnsReply,
  type DnsService,
  DnsSocketError,
  DnsSockets,
  waitFor
} from "../../src/host/DnsSockets.ts"
import { IpFamilies } from "../../src/host/IpFamilies.ts"
import type { SocketAddress } from "../../src/model/SocketAddress.ts"
import { formatHostPort } from "../../src/packet/endpoint.ts"
import type { Told } from "../../src/loops/later.ts"
import { makeOutlive } from "../../src/loops/outlive.ts"
import { superviseForever } from "../../src/loops/superviseForever.ts"
import { openServerSocket } from "../dataplane/native/fds.ts"
import { defaultTcpLimits, dnsTcpServer, type TcpLimits } from "../dns/dnsTcpServer.ts"
import { Turns } from "../dns/turns.ts"
import { addressItself } from "../dns/udpSocket.ts"

export interface DnsSocketsOptions {
  /** Opens and binds a socket, to the device as well; Node takes the descriptor over. */
  readonly openSocket?: typeof openServerSocket
  /**
   * UDP queries answered at a time, or waiting for that; of one source no more than there is room for beside it, so that
   * others have some. More are dropped and counted.
   */
  readonly maxInFlight?: number
  readonly tcp?: Partial<TcpLimits>
}

/** An address may come up a moment after its device. */
const bindRetry = Schedule.spaced("100 millis").pipe(Schedule.upTo({ times: 3 }))

/** Of the work of a turn (`Turns`): a query that others are asked about, one that takes a fiber, and one over TCP, beside its answer. */
const work = { known: 1, later: 4, fiber: 8, stream: 4 } as const

/** An IPv6 address that cannot be bound although the device has IPv6 is tried again after this long. */
const tryAgain = "2 seconds"

export const layer = (options: DnsSocketsOptions = {}): Layer.Layer<DnsSockets, never, IpFamilies> =>
  Layer.effect(
    DnsSockets,
    Effect.map(IpFamilies, (families) => make(options, families))
  )

const make = (options: DnsSocketsOptions, families: IpFamilies["Service"]): DnsSockets["Service"] => {
  const counters = {
    udp_queries: 0,
    udp_dropped: 0,
    tcp_queries: 0,
    tcp_connections: 0,
    tcp_refused: 0,
    tcp_closed_idle: 0,
    tcp_closed_for_new: 0,
    tcp_closed_oversize: 0,
    tcp_closed_unread: 0,
    tcp_closed_unanswered: 0,
    send_errors: 0
  }
  /** Answers by their four bits of RCODE. */
  const byRcode = Array.from({ length: 16 }, () => 0)
  const counted = (reply: Uint8Array): Uint8Array => {
    byRcode[(reply[3] ?? 0) & 15]!++
    return reply
  }
  const { maxInFlight = 4_096, openSocket = openServerSocket } = options
  const outlive = makeOutlive("DnsSockets.query")
  const limits = { ...defaultTcpLimits, ...options.tcp }

  const bind = (transport: "udp" | "tcp", address: string, port: number, { device, sharesPort }: DnsService) =>
    Effect.suspend((): Effect.Effect<Binding, BindError> => {
      const opened = openSocket({ transport, address, port, device, shared: sharesPort ?? false })
      return "fd" in opened ? Effect.succeed({ transport, address, ...opened }) : Effect.fail(opened)
    })

  const sent = (error: Error | null): void => {
    if (error !== null) counters.send_errors++
  }

  const serveUdp = Effect.fnUntraced(function* (service: DnsService, turns: Turns, address: string, port: number) {
    const socket = yield* retrying(Effect.flatMap(bind("udp", address, port, service), openUdpServer))
    // Made after the socket, so that at the end nothing sends on a closed one.
    const fibers = yield* FiberSet.make<void>()
    const run = yield* FiberSet.runtime(fibers)()
    // What waits for its turn may have it after that.
    let closed = false
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        closed = true
      })
    )
    const perSource = new Map<string, number>()
    let inFlight = 0
    const ended = (source: string): void => {
      inFlight--
      const left = perSource.get(source)! - 1
      if (left > 0) perSource.set(source, left)
      else perSource.delete(source)
    }
    const send = (reply: DnsReply | undefined, { address, port }: SocketAddress): void => {
      if (!closed && reply !== null && reply !== undefined) socket.send(counted(reply), port, address, sent)
    }
    const answer = (waited: Effect.Effect<DnsReply>, source: SocketAddress): Effect.Effect<void> =>
      outlive(Effect.map(waited, (reply) => send(reply, source))).pipe(
        Effect.ensuring(Effect.sync(() => ended(source.address)))
      )
    const settle = (told: Told<DnsReply>, source: SocketAddress): number => {
      if (Effect.isEffect(told)) {
        run(answer(told, source))
        return work.fiber
      }
      ended(source.address)
      send(told, source)
      return work.known
    }
    socket.on("message", (bytes, { address, port }) => {
      const mine = perSource.get(address) ?? 0
      const source = { address, port }
      const begin = (): number => {
        if (closed) return 0
        const reply = handle(service, bytes, source, "udp")
        if (typeof reply !== "function") return settle(reply, source)
        let isSettled = false
        const once = (told: Told<DnsReply>): void => {
          if (isSettled || closed) return
          isSettled = true
          settle(told, source)
        }
        try {
          reply(once)
        } catch (defect) {
          once(Effect.die(defect))
        }
        return work.later
      }
      // What comes from port 0 cannot be answered: Node throws.
      if (port === 0 || mine >= maxInFlight - inFlight) {
        counters.udp_dropped++
        return
      }
      inFlight++
      perSource.set(address, mine + 1)
      // Others have places there, too: the other family, TCP.
      if (turns.add(address, begin)) {
        counters.udp_queries++
        return
      }
      ended(address)
      counters.udp_dropped++
    })
    socket.on("error", () => counters.send_errors++)
  })

  const serveAddress = Effect.fnUntraced(function* (service: DnsService, turns: Turns, address: string) {
    const server = yield* dnsTcpServer({
      listen: retrying(Effect.flatMap(bind("tcp", address, service.port, service), openTcpServer)),
      handler: (bytes, source) =>
        Effect.map(outlive(inTurn(turns, source.address, () => handle(service, bytes, source, "tcp"))), (reply) =>
          reply ? counted(reply) : null
        ),
      limits,
      counters
    })
    const port = portOf(server)
    yield* serveUdp(service, turns, address, port)
    return { address, port }
  })

  const untilDevice = (has: boolean) =>
    families.changes.pipe(
      Stream.filter(({ device }) => (device === null) === has),
      Stream.take(1),
      Stream.runDrain
    )

  /** Serves whenever the device has IPv6. Yields once it is known whether it does: what was bound then, or `null`. */
  const serveWhilePresent = Effect.fnUntraced(function* (service: DnsService, turns: Turns, address: string) {
    const first = yield* Deferred.make<SocketAddress | null, DnsSocketError>()
    const turn = Effect.gen(function* () {
      if (families.ipv6().device !== null) yield* Deferred.succeed(first, null)
      yield* untilDevice(true)
      yield* Deferred.succeed(first, yield* serveAddress(service, turns, address))
      yield* untilDevice(false)
    }).pipe(
      Effect.scoped,
      Effect.catch((error) =>
        (error.absent ? Deferred.succeed(first, null) : Deferred.fail(first, error)).pipe(
          Effect.andThen(Effect.sleep(tryAgain))
        )
      )
    )
    yield* Effect.forkScoped(superviseForever("DnsSockets.ipv6", turn))
    return yield* Deferred.await(first)
  })

  return DnsSockets.of({
    serve: Effect.fn("DnsSockets.serve")(function* (service) {
      const tell = yield* FiberSet.makeRuntime()
      const turns = new Turns(maxInFlight, (defect) => tell(outlive(Effect.die(defect))))
      yield* Effect.addFinalizer(() => Effect.sync(() => turns.close()))
      const bound: Array<SocketAddress> = []
      for (const address of service.addresses) {
        const serving = net.isIPv6(address)
          ? serveWhilePresent(service, turns, address)
          : serveAddress(service, turns, address)
        const at = yield* serving
        if (at !== null) bound.push(at)
      }
      return bound
    }),
    counters: Effect.sync(() => ({
      ...counters,
      ...Object.fromEntries(
        byRcode.flatMap((count, code) => (count === 0 ? [] : [[`rcode.${rcodeText(code)}`, count]]))
      )
    }))
  })
}

/** What the handler throws is a bug like one of its effect. */
const handle = ({ handler }: DnsService, ...query: Parameters<DnsHandler>): ReturnType<DnsHandler> => {
  try {
    return handler(...query)
  } catch (defect) {
    return Effect.die(defect)
  }
}

/** What the handler says once it is the source's turn; nothing where it may not wait for that. */
const inTurn = (turns: Turns, source: string, ask: () => ReturnType<DnsHandler>): Effect.Effect<DnsReply> =>
  Effect.callback<DnsReply>((resume) => {
    let isWanted = true
    const isAdded = turns.add(source, () => {
      if (!isWanted) return 0
      resume(waitFor(ask()))
      return work.stream
    })
    if (!isAdded) resume(Effect.succeed(null))
    return Effect.sync(() => {
      isWanted = false
    })
  })

/** What Node is to listen on. */
interface Binding {
  readonly transport: "udp" | "tcp"
  readonly address: string
  readonly port: number
  readonly fd: number
}

interface BindError {
  readonly errno: string
  readonly message: string
}

/** The address is on no interface, or the host has nothing of its family. */
const absences = new Set(["EADDRNOTAVAIL", "EAFNOSUPPORT"])

/** Retries while the address is not up yet. */
const retrying = <A>(open: Effect.Effect<A, BindError, Scope.Scope>): Effect.Effect<A, DnsSocketError, Scope.Scope> =>
  open.pipe(
    Effect.retry({ schedule: bindRetry, while: (error) => error.errno === "EADDRNOTAVAIL" }),
    Effect.mapError(({ errno, message }) => new DnsSocketError({ message, absent: absences.has(errno) }))
  )

const bindError = ({ address, port, transport }: Binding, error: NodeJS.ErrnoException): BindError => {
  const errno = error.code ?? error.message
  return { errno, message: `cannot serve DNS at ${formatHostPort(address, port)}/${transport}: ${errno}` }
}

const openUdpServer = (binding: Binding): Effect.Effect<dgram.Socket, BindError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<dgram.Socket, BindError>((resume) => {
      const v6 = net.isIPv6(binding.address)
      const socket = dgram.createSocket({ type: v6 ? "udp6" : "udp4", ipv6Only: v6, lookup: addressItself })
      const refuse = (error: NodeJS.ErrnoException): void => {
        socket.close()
        resume(Effect.fail(bindError(binding, error)))
      }
      socket.once("error", refuse)
      socket.bind({ fd: binding.fd, exclusive: true }, () => {
        socket.off("error", refuse)
        resume(Effect.succeed(socket))
      })
    }),
    (socket) => Effect.sync(() => socket.close())
  )

const openTcpServer = (binding: Binding): Effect.Effect<net.Server, BindError, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<{ server: net.Server; sockets: Set<net.Socket> }, BindError>((resume) => {
        const sockets = new Set<net.Socket>()
        // Half-open: a client may end its side and still wait for answers.
        const server = net.createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
          sockets.add(socket)
          socket.once("close", () => sockets.delete(socket))
        })
        const refuse = (error: NodeJS.ErrnoException): void => resume(Effect.fail(bindError(binding, error)))
        server.once("error", refuse)
        server.listen({ fd: binding.fd, exclusive: true }, () => {
          server.off("error", refuse)
          server.on("error", () => undefined)
          resume(Effect.succeed({ server, sockets }))
        })
      }),
      ({ server, sockets }) =>
        Effect.callback<void>((resume) => {
          server.close(() => resume(Effect.void))
          for (const socket of sockets) socket.destroy()
        })
    ),
    ({ server }) => server
  )

const portOf = (server: net.Server): number => {
  const bound = server.address()
  return bound !== null && typeof bound === "object" ? bound.port : 0
}
