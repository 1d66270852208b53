import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import type { Command } from "../../src/dataplane/commands.ts"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import type { Notice, TrafficCause } from "../../src/dataplane/notices.ts"
import type { MappingId } from "../../src/model/Mapping.ts"

/** The other side of the recording data plane. */
export class DataPlaneRecorder extends Context.Service<
  DataPlaneRecorder,
  {
    /** Every command since the start (or the last `forget`), in order. */
    readonly commands: Effect.Effect<ReadonlyArray<Command>>
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
    const subscribers = new Set<Queue.Queue<Notice>>()
    const publish = (notice: Notice) =>
      Effect.forEach(Array.from(subscribers), (queue) => Queue.offer(queue, notice), { discard: true })

    const notices = Effect.acquireRelease(
      Effect.tap(Queue.sliding<Notice>(65_536), (queue) => Effect.sync(() => subscribers.add(queue))),
      (queue) =>
        Effect.andThen(
          Effect.sync(() => subscribers.delete(queue)),
          Queue.shutdown(queue)
        )
    )

    return Context.make(
      DataPlane,
      DataPlane.of({
        start: Effect.void,
        send: (command) => Effect.sync(() => void commands.push(command)),
        notices,
        clients: Effect.sync(() => new Map()),
        counters: Effect.succeed({}),
        failure: Effect.never,
        epoch: Effect.succeed(1),
        port: 52_625
      })
    ).pipe(
      Context.add(
        DataPlaneRecorder,
        DataPlaneRecorder.of({
          commands: Effect.sync(() => commands.slice()),
          forget: Effect.sync(() => void commands.splice(0)),
          publish,
          traffic: (mapping, cause) => publish({ _tag: "Traffic", epoch: 1, mapping, cause })
        })
      )
    )
  })
)
