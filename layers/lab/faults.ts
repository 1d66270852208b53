/**
 * Gateways that break one promise on purpose, for `sallyport demo --break`: each is one layer swapped, so the demo
 * shows that its checks can fail.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type { DemoBreak } from "../../src/cli/Programs.ts"
import { ConnectionAcceptor } from "../../src/access/ConnectionAcceptor.ts"
import type { Command } from "../../src/dataplane/commands.ts"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import { labAddresses } from "../../src/lab/demo/Lab.ts"
import { nameKey } from "../../src/model/Mapping.ts"
import { type ResolutionError, Resolver } from "../../src/resolution/Resolver.ts"
import { Resolutions } from "../../src/resolution/Resolutions.ts"
import type { GatewayParts } from "../Gateway.ts"

export const faults: Readonly<Record<DemoBreak, (live: GatewayParts) => GatewayParts>> = {
  accept: (live) => ({ ...live, acceptor: Layer.provide(acceptWaits, live.acceptor) }),
  icmp: (live) => ({ ...live, dataPlane: Layer.provide(icmpSilent, live.dataPlane) }),
  // Merged: the live one's probe of resolver sets stays.
  heal: (live) => ({ ...live, resolver: Layer.provideMerge(healNever, live.resolver) })
}

/** `accept`: the acceptor replies only when the name is looked up, as gateways do that resolve first. */
const acceptWaits: Layer.Layer<ConnectionAcceptor, never, ConnectionAcceptor | Resolutions> = Layer.effect(
  ConnectionAcceptor,
  Effect.gen(function* () {
    const inner = yield* ConnectionAcceptor
    const resolutions = yield* Resolutions
    return ConnectionAcceptor.of({
      accept: Effect.fnUntraced(function* (request) {
        const reply = yield* inner.accept(request)
        if (reply.mapping === null) return reply
        const { client, name, resources } = reply.mapping.mapping
        yield* resolutions.find(client, resources[0]!, name.domain).pipe(
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
const icmpSilent: Layer.Layer<DataPlane, never, DataPlane> = Layer.effect(
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

/** `heal`: the first failure of a name is its answer for ever, as in gateways that look up once. */
const healNever: Layer.Layer<Resolver, never, Resolver> = Layer.effect(
  Resolver,
  Effect.gen(function* () {
    const inner = yield* Resolver
    const failures = new Map<string, ResolutionError>()
    return Resolver.of({
      ...inner,
      resolve: (name) =>
        Effect.suspend(() => {
          const failure = failures.get(nameKey(name))
          if (failure !== undefined) return Effect.fail(failure)
          return Effect.tapError(inner.resolve(name), (error) =>
            Effect.sync(() => void failures.set(nameKey(name), error))
          )
        })
    })
  })
)
