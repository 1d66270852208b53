/** A way to a server on loopback that can be cut. */
import { once } from "node:events"
import { connect, createServer, type AddressInfo, type Socket } from "node:net"
import { Effect, type Scope } from "effect"

export interface CuttableWay {
  readonly port: number
  /** Every connection ends, and none is let through from then on. */
  readonly cut: Effect.Effect<void>
  readonly mend: Effect.Effect<void>
  /** From now on nothing comes through, and no end learns when the other one has gone. */
  readonly stall: Effect.Effect<void>
}

export const cuttableWay = (to: number): Effect.Effect<CuttableWay, never, Scope.Scope> =>
  Effect.gen(function* () {
    const sockets = new Set<Socket>()
    let open = true
    let stalled = false
    const end = () => {
      for (const socket of sockets) socket.destroy()
      sockets.clear()
    }
    const server = yield* Effect.acquireRelease(
      Effect.promise(async () => {
        const server = createServer((near) => {
          if (!open) return void near.destroy()
          const far = connect({ host: "127.0.0.1", port: to })
          for (const [socket, other] of [
            [near, far],
            [far, near]
          ] as const) {
            sockets.add(socket)
            socket.on("error", () => socket.destroy())
            socket.on("close", () => void (stalled || other.destroy()))
            socket.pipe(other)
          }
        }).listen(0, "127.0.0.1")
        await once(server, "listening")
        return server
      }),
      (server) =>
        Effect.sync(() => {
          end()
          server.close()
        })
    )
    return {
      port: (server.address() as AddressInfo).port,
      cut: Effect.sync(() => {
        open = false
        end()
      }),
      mend: Effect.sync(() => void (open = true)),
      stall: Effect.sync(() => {
        stalled = true
        for (const socket of sockets) socket.unpipe().pause()
      })
    }
  })
