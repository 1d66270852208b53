/**
 * Gateways that break one promise on purpose, for `sallyport demo --break`: each is one layer swapped, so the demo
 * shows that its checks can fail. The composition root puts one in when `faultVariable` names it, and only the demo
 * sets that variable.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import { ConnectionAcceptor } from "../../src/access/ConnectionAcceptor.ts"
import type { Command } from "../../src/dataplane/commands.ts"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import { labAddresses } from "../../src/demo/Lab.ts"
import { Refresh } from "../../src/resolution/Refresh.ts"
import { Resolutions } from "../../src/resolution/Resolutions.ts"

/** `accept`: the acceptor replies only when the name is looked up, as gateways do that resolve first. */
export const acceptWaits: Layer.Layer<ConnectionAcceptor, never, ConnectionAcceptor | Resolutions> = Layer.effect(
  ConnectionAcceptor,
  Effect.gen(function* () {
    const inner = yield* ConnectionAcceptor
    const resolutions = yield* Resolutions
    return ConnectionAcceptor.of({
      accept: Effect.fnUntraced(function* (request) {
        const reply = yield* inner.accept(request)
        if (reply.mapping === null) return reply
        const { client, name, resource } = reply.mapping.mapping
        yield* resolutions.find(client, resource, name.domain).pipe(
          Effect.repeat({
            while: (status) => status?.state._tag !== "Resolved",
            schedule: Schedule.spaced("50 millis")
          })
        )
        return reply
      })
    })
  })
)

/** `icmp`: a name without addresses gets one at which nobody is, so packets vanish instead of being answered. */
export const icmpSilent: Layer.Layer<DataPlane, never, DataPlane> = Layer.effect(
  DataPlane,
  Effect.gen(function* () {
    const inner = yield* DataPlane
    return DataPlane.of({ ...inner, send: (command) => inner.send(intoTheVoid(command)) })
  })
)

const intoTheVoid = (command: Command): Command =>
  command._tag === "SetAddresses" && command.addresses.length === 0
    ? { ...command, state: "Resolved", addresses: [labAddresses.inner.nobody.v4, labAddresses.inner.nobody.v6] }
    : command

/** `heal`: traffic to a name without addresses is no reason to look it up again. */
export const healNever: Layer.Layer<Refresh> = Layer.succeed(Refresh, Refresh.of({ traffic: () => Effect.void }))
