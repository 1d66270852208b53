/** `Presence` over the site's `PresenceStore`: what `Ownership` decides is carried out here. Nothing waits for it. */
import { hostname } from "node:os"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type { GatewayConfig } from "../../src/config/GatewayConfig.ts"
import { Registry } from "../../src/control/Registry.ts"
import type { KnownEndpoint, SetSiblings } from "../../src/dataplane/commands.ts"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import { mostKnownEndpoints } from "../../src/dataplane/DesiredState.ts"
import { HostNetwork } from "../../src/host/HostNetwork.ts"
import { forEachNotice } from "../../src/loops/forEachNotice.ts"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import { makeOddities } from "../../src/loops/oddities.ts"
import { superviseForever } from "../../src/loops/superviseForever.ts"
import { Draining } from "../../src/shared/draining.ts"
import { type Decision, Ownership } from "../../src/shared/Ownership.ts"
import { Presence } from "../../src/shared/Presence.ts"
import { PresenceStore } from "../../src/shared/PresenceStore.ts"
import type { SharedState } from "../../src/shared/SharedState.ts"
import { SharedStoreError } from "../../src/shared/SharedStore.ts"
import { Site } from "../../src/shared/Site.ts"
import { VirtualAddress } from "../../src/shared/VirtualAddress.ts"
import { version } from "../host/version.ts"
import { makeDrain } from "./drain.ts"

const beatTime = "1 second"
/** What is seen within this time is told together; where more and more is seen it is told less often. */
const batchTime = "100 millis"
const restTime = "200 millis"
/** Until what was read is followed by the next page of it. */
const pageTime = "50 millis"
/** Whoever gets no answer for so long does not know how the site is. */
const answerTime = "2 seconds"
const unanswered = new SharedStoreError({
  reason: "Silent",
  message: "PostgreSQL: no answer within 2 s — see what keeps it busy"
})
const answered = Effect.timeoutOrElse({ duration: answerTime, orElse: () => Effect.fail(unanswered) })
/** It is said that there is none after this long. */
const untoldMs = 10_000

export const layer: Layer.Layer<never, never, DataPlane | HostNetwork | PresenceStore | Registry | VirtualAddress> =
  Layer.effect(
    Presence,
    Effect.gen(function* () {
      const dataPlane = yield* DataPlane
      const host = yield* HostNetwork
      const registry = yield* Registry
      const site = yield* Site
      const store = yield* PresenceStore
      const address = yield* VirtualAddress
      const ownership = new Ownership()
      const draining = new Draining()
      /** What the packet worker was told of the others. */
      let siblings = ""
      const odd = makeOddities()
      const due = yield* Queue.sliding<void>(1)
      const seen = yield* Queue.sliding<void>(1)
      let policy: GatewayConfig | null = null
      /** Where the others reach this one, as they were told. */
      let reachedAt: string | null | undefined
      /** The connection over which it met the site last. */
      let connectedSince: number | null = null
      let metAt = yield* monotonicMillis

      const send = Effect.fnUntraced(function* (clients: ReadonlyArray<KnownEndpoint>, call: boolean) {
        for (let at = 0; at < clients.length; at += mostKnownEndpoints) {
          // The address may have gone meanwhile.
          if (call && !ownership.mayCall()) return
          const some = clients.slice(at, at + mostKnownEndpoints)
          yield* dataPlane.send({ _tag: "SetKnownEndpoints", clients: some, call })
          // Questions have their turn in between.
          yield* Effect.yieldNow
        }
      })
      const call = (why: string, clients: ReadonlyArray<KnownEndpoint>) =>
        clients.length === 0
          ? Effect.void
          : Effect.andThen(
              send(clients, true),
              Effect.logInfo(`${why} are called`).pipe(Effect.annotateLogs("clients", clients.length))
            )

      const ownAddresses = Effect.matchEffect(host.ownAddresses, {
        onSuccess: (addresses) => Effect.succeed<ReadonlySet<string>>(new Set(addresses)),
        onFailure: ({ message }) =>
          Effect.as(odd("addresses", `clients of a gateway that is gone are not called: ${message}`), new Set<string>())
      })

      const carryOut = Effect.fnUntraced(function* (gateway: number, decision: Decision) {
        yield* send(decision.tell, false)
        yield* call("the site's virtual address is here: clients of its other gateways", decision.call)
        if (decision.resumes) {
          yield* call("clients that were here before this start", ownership.resume(yield* ownAddresses))
        }
        if (decision.heirless.length > 0) {
          const asked = answered(store.inherit(gateway, decision.heirless))
          const from = yield* Effect.orElseSucceed(asked, () => [])
          if (from.length > 0) {
            const theirs = ownership.inherit(from, yield* ownAddresses)
            yield* call(`clients of gateway ${from.join(", ")}, which is silent,`, theirs)
          }
        }
        if (decision.omitted > 0) {
          yield* odd("omitted", `where ${decision.omitted} devices were last is not remembered: there are too many`)
        }
        if (decision.rivals.length > 0) {
          yield* odd(
            "rivals",
            `gateway ${decision.rivals.join(", ")} has the site's virtual address as well as this one — see whether they hear each other's VRRP`
          )
        }
        const { flapping } = decision
        if (flapping !== null) {
          const others = flapping.others === 0 ? "" : ` (and ${flapping.others} others)`
          yield* Effect.logWarning(
            `client ${flapping.client}${others} has changed gateways ${flapping.moves} times within a minute — see which of them have the address that it dials, and whether its key is in use twice`
          )
        }
      })

      const miss = Effect.fnUntraced(function* (shared: SharedState["Service"], why: string) {
        const now = yield* monotonicMillis
        yield* send(ownership.miss(now), false)
        // Of the other connection's troubles it is told there.
        if (now - metAt < untoldMs || (yield* shared.store)._tag === "Away") return
        yield* odd("away", `the other gateways are not heard of, and this one calls nobody by itself: ${why}`)
      })

      /** While one drains it is said each time: who does not know where to find another one hears from it. */
      const tellSiblings = Effect.fnUntraced(function* (order: SetSiblings) {
        const said = JSON.stringify(order)
        if (said === siblings && !order.draining && !order.siblings.some((one) => one.draining)) return
        siblings = said
        yield* dataPlane.send(order)
      })

      /** Whether the others can hand something to this one, as far as this host knows. */
      const checkReach = Effect.fnUntraced(function* (address: string | null, advertise: string | null) {
        if (address === reachedAt) return
        reachedAt = address
        const fix = "add advertise: to the file, with this host's address"
        if (advertise !== null) return
        if (address === null) {
          return yield* Effect.logWarning(
            `the other gateways do not know where this one is, as PostgreSQL sees it at loopback: nothing can be handed to it — ${fix}`
          )
        }
        const addresses = yield* Effect.orElseSucceed(host.ownAddresses, () => [address])
        if (!addresses.includes(address)) {
          yield* Effect.logWarning(
            `the other gateways look for this one at ${address}, where PostgreSQL sees it, which is no address of this host — ${fix}`
          )
        }
      })

      const meet = Effect.gen(function* () {
        if (site === null) return
        const { gateway } = yield* site.shared.standing
        if (gateway === null) return
        const { config, site: policyOf } = registry.current()
        if (config !== policy) {
          ownership.follow(config.clients)
          policy = config
        }
        const status = yield* store.status
        if (status._tag === "Away") return yield* miss(site.shared, status.error.message)
        // It would keep that one alive for the others beyond its end.
        if (site.source.isTaken) return yield* miss(site.shared, "another process is this gateway of the site")
        if (status.sinceMs !== connectedSince) {
          for (const state of (yield* dataPlane.clients).values()) ownership.observe(state)
          ownership.again()
          connectedSince = status.sinceMs
        }
        const { readAt } = yield* site.shared.standing
        const about = {
          version,
          host: hostname().slice(0, 64),
          policy: policyOf?.version ?? null,
          readAt: readAt?.store ?? null
        }
        const { advertise } = config
        const hello = { ...ownership.hello(gateway, config.listenPort), address: advertise, about }
        const answer = yield* Effect.result(answered(store.meet(hello)))
        if (Result.isFailure(answer)) return yield* miss(site.shared, answer.failure.message)
        metAt = yield* monotonicMillis
        const siblings = draining.see(answer.success, gateway, hello.draining)
        yield* tellSiblings({ _tag: "SetSiblings", gateway, draining: draining.isOn, siblings })
        const own = answer.success.heartbeats.find((one) => one.gateway === gateway)
        if (own !== undefined && siblings.length > 0) yield* checkReach(own.address, advertise)
        yield* carryOut(gateway, ownership.see(answer.success, metAt))
        if (!answer.success.last || ownership.hasNews) {
          yield* Effect.sleep(pageTime)
          yield* Queue.offer(due, undefined)
        }
      })

      const forever = (loop: string, turn: Effect.Effect<unknown>) =>
        Effect.forkScoped(superviseForever(`Presence.${loop}`, turn))
      yield* forEachNotice("Presence.notices", {
        ClientState: (state) => {
          ownership.observe(state)
          return Queue.offer(seen, undefined)
        },
        ClientRemoved: ({ client }) => Effect.sync(() => ownership.leave(client))
      })
      yield* forever(
        "batch",
        Queue.take(seen).pipe(
          Effect.andThen(Effect.sleep(batchTime)),
          Effect.andThen(Queue.offer(due, undefined)),
          Effect.andThen(Effect.sleep(restTime))
        )
      )
      yield* forever("meetings", Effect.andThen(Effect.timeoutOption(Queue.take(due), beatTime), meet))
      yield* forever(
        "address",
        Stream.runForEach(address.changes, (state) =>
          Effect.andThen(
            send(ownership.move(state === "MASTER" ? "here" : "elsewhere"), false),
            Queue.offer(due, undefined)
          )
        )
      )

      const drain = yield* makeDrain({
        draining,
        clients: () => ownership.here,
        changed: (drains) => Effect.andThen(send(ownership.drain(drains), false), Queue.offer(due, undefined))
      })

      return { address, report: Effect.sync(() => ownership.report()), drain }
    })
  )
