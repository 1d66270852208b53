import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Tracer } from "effect"
import { TestClock } from "effect/testing"
import * as ResolverMemory from "../../layers/ResolverMemory.ts"
import { ConnectionAcceptor } from "../../src/access/ConnectionAcceptor.ts"
import { Refresh } from "../../src/resolution/Refresh.ts"
import { NameNotFound } from "../../src/resolution/Resolver.ts"
import { layerAccess, request } from "../support/access.ts"

class EndedSpans extends Context.Service<EndedSpans, Array<Tracer.Span>>()("test/EndedSpans") {}

const layerRecorder = Layer.effectContext(
  Effect.sync(() => {
    const ended: Array<Tracer.Span> = []
    const tracer = Tracer.make({
      span: (options) => {
        const span = new Tracer.NativeSpan(options)
        const end = span.end.bind(span)
        span.end = (time, exit) => {
          end(time, exit)
          ended.push(span)
        }
        return span
      }
    })
    return Context.make(Tracer.Tracer, tracer).pipe(Context.add(EndedSpans, ended))
  })
)

const attributes = (name: string) =>
  Effect.map(EndedSpans, (spans) =>
    spans.filter((span) => span.name === name).map((span) => Object.fromEntries(span.attributes))
  )

describe("spans", () => {
  it.effect("say who asked for what, why a name was looked up and how it ended, and what traffic led to", () =>
    Effect.gen(function* () {
      const acceptor = yield* ConnectionAcceptor
      const refresh = yield* Refresh
      const script = yield* ResolverMemory.ResolverScript
      yield* script.set("*", ResolverMemory.fail(new NameNotFound({ ttlSeconds: 0 })))
      const { mapping } = yield* acceptor.accept(request("db.corp"))
      yield* Effect.ignore(acceptor.accept(request("db.corp", { expiresAt: 0 })))
      yield* TestClock.adjust("10 seconds")
      const id = mapping!.mapping.id
      for (let i = 0; i < 2; i++) yield* refresh.traffic({ _tag: "Traffic", epoch: 1, mapping: id, cause: "Unmapped" })
      yield* refresh.traffic({ _tag: "Traffic", epoch: 1, mapping: id, cause: "Answered" })
      yield* TestClock.adjust("1 second")

      const asked = { client: "client-0", resource: "resource db.corp", domain: "db.corp" }
      assert.deepStrictEqual(yield* attributes("ConnectionAcceptor.accept"), [
        { ...asked, outcome: "Resolving" },
        { ...asked, outcome: "Expired" }
      ])
      const looked = { resolver: "system", domain: "db.corp", client: "client-0", outcome: "NameNotFound" }
      assert.deepStrictEqual(yield* attributes("Resolutions.lookup"), [
        { ...looked, cause: "First", lookup: 1 },
        { ...looked, cause: "Unmapped", lookup: 2 }
      ])
      assert.deepStrictEqual(yield* attributes("Refresh.decide"), [
        { mapping: id, cause: "Unmapped", decision: "lookup" },
        { mapping: id, cause: "Unmapped", decision: "in_flight" }
      ])
    }).pipe(Effect.provide(layerAccess.pipe(Layer.provideMerge(layerRecorder))))
  )
})
