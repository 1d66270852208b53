import * as dgram from "node:dgram"
import * as net from "node:net"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { DnsService, DnsSource } from "../src/host/DnsSockets.ts"
import { DnsSockets, DnsSocketError } from "../src/host/DnsSockets.ts"
import type { TcpLimits } from "./dnsTcpServer.ts"
import { defaultTcpLimits, dnsTcpServer } from "./dnsTcpServer.ts"

export interface DnsSocketsOptions {
  /** Sets SO_BINDTODEVICE on a socket; may throw. Without it the address alone binds. */
  readonly bindToDevice?: (fd: number, device: string) => void
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
    const { bindToDevice, maxInFlight = 256 } = options
    const limits = { ...defaultTcpLimits, ...options.tcp }

    const bindDevice = (service: DnsService, socket: object): Effect.Effect<void, DnsSocketError> =>
      Effect.try({
        try: () => {
          if (service.device !== null && bindToDevice !== undefined) bindToDevice(fdOf(socket), service.device)
        },
        catch: (error) =>
          new DnsSocketError({
            message: `cannot bind the DNS service to ${service.device}: ${String(error)}. Does the process have CAP_NET_ADMIN?`
          })
      })

    const serveUdp = Effect.fnUntraced(function* (service: DnsService, address: string, port: number) {
      const socket = yield* openUdpServer(address, port).pipe(retrying)
      // Made after the socket, so that at the end nothing sends on a closed one.
      const fibers = yield* FiberSet.make<void>()
      const run = yield* FiberSet.runtime(fibers)()
      yield* bindDevice(service, socket)
      let inFlight = 0
      const answer = (bytes: Uint8Array, source: DnsSource): Effect.Effect<void> =>
        service.handler(bytes, source, "udp").pipe(
          Effect.map((reply) => {
            if (reply === null) return
            socket.send(reply, source.port, source.address, (error) => {
              if (error !== null) counters.send_errors++
            })
          }),
          Effect.catchDefect(logBroken),
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
        const bound: Array<DnsSource> = []
        for (const address of service.addresses) {
          const server = yield* dnsTcpServer({
            listen: retrying(openTcpServer(address, service.port)),
            handler: (bytes, source) => service.handler(bytes, source, "tcp").pipe(Effect.catchDefect(logBroken)),
            limits,
            counters
          })
          yield* bindDevice(service, server)
          const port = portOf(server)
          yield* serveUdp(service, address, port)
          bound.push({ address, port })
        }
        return bound
      }),
      counters: Effect.sync(() => ({ ...counters }))
    })
  })

const logBroken = (defect: unknown): Effect.Effect<null> =>
  Effect.as(Effect.logError("A DNS query broke its handler", defect), null)

interface BindError {
  readonly code: string
  readonly address: string
  readonly port: number
  readonly protocol: "udp" | "tcp"
}

/** Retries while the address is not up yet; says in one line what is wrong. */
const retrying = <A>(open: Effect.Effect<A, BindError, Scope.Scope>): Effect.Effect<A, DnsSocketError, Scope.Scope> =>
  open.pipe(
    Effect.retry({ schedule: bindRetry, while: (error) => error.code === "EADDRNOTAVAIL" }),
    Effect.mapError((error) => new DnsSocketError({ message: explain(error) }))
  )

const explain = ({ address, code, port, protocol }: BindError): string => {
  const at = `${address.includes(":") ? `[${address}]` : address}:${port}/${protocol}`
  switch (code) {
    case "EADDRINUSE":
      return `cannot serve DNS at ${at}: another program listens there. Find it with "ss -l${protocol[0]}np sport = :${port}" and bind it to other addresses`
    case "EACCES":
      return `cannot serve DNS at ${at}: no permission. Give the process CAP_NET_BIND_SERVICE`
    case "EADDRNOTAVAIL":
      return `cannot serve DNS at ${at}: the host does not have this address. Is the tunnel device up?`
  }
  return `cannot serve DNS at ${at}: ${code}`
}

const openUdpServer = (address: string, port: number): Effect.Effect<dgram.Socket, BindError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<dgram.Socket, BindError>((resume) => {
      const v6 = net.isIPv6(address)
      const socket = dgram.createSocket({ type: v6 ? "udp6" : "udp4", ipv6Only: v6 })
      const refuse = (error: NodeJS.ErrnoException): void => {
        socket.close()
        resume(Effect.fail({ code: error.code ?? error.message, address, port, protocol: "udp" }))
      }
      socket.once("error", refuse)
      socket.bind({ address, port, exclusive: true }, () => {
        socket.off("error", refuse)
        resume(Effect.succeed(socket))
      })
    }),
    (socket) => Effect.sync(() => socket.close())
  )

const openTcpServer = (address: string, port: number): Effect.Effect<net.Server, BindError, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<{ server: net.Server; sockets: Set<net.Socket> }, BindError>((resume) => {
        const sockets = new Set<net.Socket>()
        // Half-open: a client may end its side and still wait for answers.
        const server = net.createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
          sockets.add(socket)
          socket.once("close", () => sockets.delete(socket))
        })
        const refuse = (error: NodeJS.ErrnoException): void =>
          resume(Effect.fail({ code: error.code ?? error.message, address, port, protocol: "tcp" }))
        server.once("error", refuse)
        server.listen({ host: address, port, ipv6Only: net.isIPv6(address), exclusive: true }, () => {
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

/** Node keeps the number to itself. */
const fdOf = (socket: object): number => {
  const handle: unknown = Reflect.get(socket, "_handle")
  const fd: unknown = typeof handle === "object" && handle !== null ? Reflect.get(handle, "fd") : undefined
  if (typeof fd !== "number" || fd < 0) throw new Error("this Node version does not show the socket's file descriptor")
  return fd
}
