import * as dgram from "node:dgram"
import * as net from "node:net"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { type DnsService, DnsSocketError, DnsSockets } from "../../src/host/DnsSockets.ts"
import type { SocketAddress } from "../../src/model/SocketAddress.ts"
import { formatHostPort } from "../../src/packet/endpoint.ts"
import { makeOutlive } from "../../src/loops/outlive.ts"
import { openServerSocket } from "../dataplane/native/fds.ts"
import { defaultTcpLimits, dnsTcpServer, type TcpLimits } from "../dns/dnsTcpServer.ts"

export interface DnsSocketsOptions {
  /** Opens and binds a socket, to the device as well; Node takes the descriptor over. */
  readonly openSocket?: typeof openServerSocket
  /** UDP queries answered at a time; more are dropped and counted. */
  readonly maxInFlight?: number
  readonly tcp?: Partial<TcpLimits>
}

/** An address may come up a moment after its device. */
const bindRetry = Schedule.spaced("100 millis").pipe(Schedule.upTo({ times: 3 }))

export const layer = (options: DnsSocketsOptions = {}): Layer.Layer<DnsSockets> =>
  Layer.sync(DnsSockets, () => {
    const counters = {
      udp_queries: 0,
      udp_dropped: 0,
      tcp_queries: 0,
      tcp_connections: 0,
      tcp_refused: 0,
      tcp_closed_idle: 0,
      tcp_closed_oversize: 0,
      send_errors: 0
    }
    const { maxInFlight = 256, openSocket = openServerSocket } = options
    const outlive = makeOutlive("DnsSockets.query")
    const limits = { ...defaultTcpLimits, ...options.tcp }

    const bind = (transport: "udp" | "tcp", address: string, port: number, device: string | null) =>
      Effect.suspend((): Effect.Effect<Binding, BindError> => {
        const opened = openSocket({ transport, address, port, device })
        return "fd" in opened ? Effect.succeed({ transport, address, ...opened }) : Effect.fail(opened)
      })

    const serveUdp = Effect.fnUntraced(function* (service: DnsService, address: string, port: number) {
      const socket = yield* retrying(Effect.flatMap(bind("udp", address, port, service.device), openUdpServer))
      // Made after the socket, so that at the end nothing sends on a closed one.
      const fibers = yield* FiberSet.make<void>()
      const run = yield* FiberSet.runtime(fibers)()
      let inFlight = 0
      const answer = (bytes: Uint8Array, source: SocketAddress): Effect.Effect<void> =>
        outlive(service.handler(bytes, source, "udp")).pipe(
          Effect.map((reply) => {
            if (reply === null || reply === undefined) return
            socket.send(reply, source.port, source.address, (error) => {
              if (error !== null) counters.send_errors++
            })
          }),
          Effect.ensuring(Effect.sync(() => inFlight--))
        )
      socket.on("message", (bytes, from) => {
        if (inFlight >= maxInFlight) {
          counters.udp_dropped++
          return
        }
        inFlight++
        counters.udp_queries++
        run(answer(bytes, { address: from.address, port: from.port }))
      })
      socket.on("error", () => counters.send_errors++)
    })

    return DnsSockets.of({
      serve: Effect.fn("DnsSockets.serve")(function* (service) {
        const bound: Array<SocketAddress> = []
        for (const address of service.addresses) {
          const server = yield* dnsTcpServer({
            listen: retrying(Effect.flatMap(bind("tcp", address, service.port, service.device), openTcpServer)),
            handler: (bytes, source) =>
              Effect.map(outlive(service.handler(bytes, source, "tcp")), (reply) => reply ?? null),
            limits,
            counters
          })
          const port = portOf(server)
          yield* serveUdp(service, address, port)
          bound.push({ address, port })
        }
        return bound
      }),
      counters: Effect.sync(() => ({ ...counters }))
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

/** Retries while the address is not up yet. */
const retrying = <A>(open: Effect.Effect<A, BindError, Scope.Scope>): Effect.Effect<A, DnsSocketError, Scope.Scope> =>
  open.pipe(
    Effect.retry({ schedule: bindRetry, while: (error) => error.errno === "EADDRNOTAVAIL" }),
    Effect.mapError(({ message }) => new DnsSocketError({ message }))
  )

const bindError = ({ address, port, transport }: Binding, error: NodeJS.ErrnoException): BindError => {
  const errno = error.code ?? error.message
  return { errno, message: `cannot serve DNS at ${formatHostPort(address, port)}/${transport}: ${errno}` }
}

const openUdpServer = (binding: Binding): Effect.Effect<dgram.Socket, BindError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<dgram.Socket, BindError>((resume) => {
      const v6 = net.isIPv6(binding.address)
      const socket = dgram.createSocket({ type: v6 ? "udp6" : "udp4", ipv6Only: v6 })
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
