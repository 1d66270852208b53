import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as EventLogLive from "../../../layers/events/EventLog.ts"
import * as JournalEvents from "../../../layers/events/journalEvents.ts"
import * as DataPlaneRecording from "../../../layers/memory/DataPlaneRecording.ts"
import { DataPlane } from "../../../src/dataplane/DataPlane.ts"
import { EventLog } from "../../../src/events/EventLog.ts"
import { ResourceId } from "../../../src/model/Resource.ts"
import { standInOf } from "../../../src/model/standIn.ts"
import { Resolutions } from "../../../src/resolution/Resolutions.ts"
import { connectedState } from "../../support/connectedState.ts"
import { clientId, upsertClient } from "../../support/engineWorld.ts"

const layer = JournalEvents.layer.pipe(
  Layer.provide(
    Layer.mock(Resolutions, {
      askAgain: () => undefined,
      firstLookupAt: () => undefined,
      answersNobody: () => false
    })
  ),
  Layer.provideMerge([DataPlaneRecording.layer, EventLogLive.layer])
)

it.effect("a flow by what stands in for a resource while that changes is told as one by the resource", () =>
  Effect.gen(function* () {
    const { publish } = yield* DataPlaneRecording.DataPlaneRecorder
    yield* (yield* DataPlane).send(upsertClient(1))
    const flow = (resource: ResourceId) => ({
      client: clientId(1),
      to: { address: "9.0.0.9", protocol: 6, port: 443, mapping: null, resource },
      real: null,
      bytesIn: 0,
      end: null
    })
    const lan = ResourceId.make("lan")
    const untold = { flows: 0, strangers: 0 }
    const rest = { refused: [], clients: [], addresses: [], strangers: [], untold }
    yield* publish({ _tag: "Journal", epoch: 1, flows: [flow(standInOf(lan)), flow(lan)], ...rest })
    yield* Effect.yieldNow

    const told = (yield* (yield* EventLog).list).map(({ event }) =>
      event._tag === "FlowOpened" ? event.to.resource : event._tag
    )
    assert.deepStrictEqual(told, [lan, lan])
  }).pipe(Effect.provide(layer))
)

it.effect("a client that was removed and is one again is told to connect again, and only then", () =>
  Effect.gen(function* () {
    const { publish } = yield* DataPlaneRecording.DataPlaneRecorder
    const { send } = yield* DataPlane
    const connects = Effect.andThen(publish(connectedState(1)), Effect.yieldNow)
    yield* send(upsertClient(1))
    yield* connects
    yield* connects
    yield* send({ _tag: "RemoveClient", client: clientId(1) })
    yield* connects
    yield* send(upsertClient(1))
    yield* connects

    const told = (yield* (yield* EventLog).list).map(({ event }) => event._tag)
    assert.deepStrictEqual(told, ["ClientConnected", "ClientConnected"])
  }).pipe(Effect.provide(layer))
)
