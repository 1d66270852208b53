import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Command } from "../../src/dataplane/commands.ts"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import type { Notice, TrafficCause } from "../../src/dataplane/notices.ts"
import { monotonicMillisUnsafe } from "../../src/loops/monotonic.ts"
import type { MappingId } from "../../src/model/Mapping.ts"
import type { Order } from "../../src/dataplane/orders.ts"
import { makeDataPlaneHub } from "../dataplane/dataPlaneHub.ts"

/** The other side of the recording data plane. */
export class DataPlaneRecorder extends Context.Service<
  DataPlaneRecorder,
  {
    /** Every command since the start (or the last `forget`), in order. */
    readonly commands: Effect.Effect<ReadonlyArray<Command>>
    /** What a worker would have had to do for them. */
    readonly orders: Effect.Effect<ReadonlyArray<Order>>
    readonly forget: Effect.Effect<void>
    readonly publish: (notice: Notice) => Effect.Effect<void>
    /** Publishes a `Traffic` notice. */
    readonly traffic: (mapping: MappingId, cause: TrafficCause) => Effect.Effect<void>
  }
>()("sallyport/layers/DataPlaneRecorder") {}

/** A data plane without packets: it keeps what it is told and publishes the notices a test gives it. */
export const layer: Layer.Layer<DataPlane | DataPlaneRecorder> = Layer.effectContext(
  Effect.sync(() => {
    const commands: Array<Command> = []
    const orders: Array<Order> = []
    const hub = makeDataPlaneHub()
    const publish = (notice: Notice) =>
      Effect.clockWith((clock) => Effect.sync(() => hub.deliver([notice], monotonicMillisUnsafe(clock))))

    return Context.make(
      DataPlane,
      DataPlane.of({
        start: Effect.void,
        send: (command) =>
          Effect.sync(() => {
            commands.push(command)
            orders.push(...hub.decide(command))
          }),
        settled: Effect.succeed(true),
        ...hub.service,
        counters: Effect.succeed({}),
        remakeDevice: Effect.void,
        epoch: Effect.succeed(1),
        port: 52_625
      })
    ).pipe(
      Context.add(
        DataPlaneRecorder,
        DataPlaneRecorder.of({
          commands: Effect.sync(() => commands.slice()),
          orders: Effect.sync(() => orders.slice()),
          forget: Effect.sync(() => {
            commands.length = 0
            orders.length = 0
          }),
          publish,
          traffic: (mapping, cause) => publish({ _tag: "Traffic", epoch: 1, mapping, cause })
        })
      )
    )
  })
)
