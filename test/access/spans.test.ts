import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import * as ResolverMemory from "../../layers/memory/ResolverMemory.ts"
import { ConnectionAcceptor } from "../../src/access/ConnectionAcceptor.ts"
import { Refresh } from "../../src/resolution/Refresh.ts"
import { NameNotFound } from "../../src/resolution/Resolver.ts"
import { layerAccess, request } from "../support/access.ts"
import { attributesOf, layerRecorder, spansOf } from "../support/recordedSpans.ts"

const attributes = (name: string) => Effect.map(spansOf(name), (spans) => spans.map(attributesOf))

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
        { ...asked, mapping: id, cause: "Unmapped", outcome: "lookup" },
        { ...asked, mapping: id, cause: "Unmapped", outcome: "in_flight" }
      ])
    }).pipe(Effect.provide(layerAccess.pipe(Layer.provideMerge(layerRecorder))))
  )
})
