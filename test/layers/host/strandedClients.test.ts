import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import * as ForeignNetworksLive from "../../../layers/host/ForeignNetworks.ts"
import * as StrandedClients from "../../../layers/host/strandedClients.ts"
import { Clients } from "../../../src/access/Clients.ts"
import { ForeignNetworks } from "../../../src/host/ForeignNetworks.ts"
import { ClientId } from "../../../src/model/Client.ts"
import { withLogLines } from "../../support/standalone.ts"

const client = (n: number) => ({
  id: ClientId.make(`client-${n}`),
  publicKey: "",
  presharedKey: null,
  tunnel4: `100.70.${n}.9`,
  tunnel6: `fd00:2021:1111::${n}`
})
const uplink = { network: "100.70.1.0/24", who: "the host's route 100.70.1.0/24 dev wan0" }
const overlay = { network: "100.100.100.100/32", who: "the host's route 100.100.100.100 dev ts0" }

/** Where each line about what begins with one of these words is counted. */
const counted = (lines: ReadonlyArray<string>, text: string): number =>
  lines.filter((line) => line.includes(text)).length

describe("a client whose address the host uses", () => {
  it.effect("is named once, with who takes its replies, and again when it has been right in between", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const foreign = yield* ForeignNetworks
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(counted(lines, "gets no replies at"), 0)

        yield* foreign.found([uplink, overlay])
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(counted(lines, "the client client-1 gets no replies at 100.70.1.9: the host's route"), 1)
        assert.strictEqual(counted(lines, "gets no replies at"), 1)

        yield* foreign.found([overlay])
        yield* TestClock.adjust("10 seconds")
        yield* foreign.found([overlay, uplink])
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(counted(lines, "gets no replies at"), 2)
      }).pipe(
        Effect.provide(
          StrandedClients.layer.pipe(
            Layer.provide(Layer.mock(Clients, { list: Effect.succeed([client(1), client(2)]) })),
            Layer.provideMerge(ForeignNetworksLive.layer)
          )
        )
      )
    )
  )

  it.effect("is told beside the networks themselves, which are told when they come and when they go", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const foreign = yield* ForeignNetworks
        const many = Array.from({ length: 8 }, (_, i) => ({ network: `100.70.${i}.0/24`, who: "the host's route" }))
        assert.isTrue(yield* foreign.found(many))
        assert.isFalse(yield* foreign.found([...many]))
        assert.strictEqual(counted(lines, "is left to the host"), 5)
        assert.strictEqual(counted(lines, "so are 3 more networks"), 1)
        assert.isTrue(yield* foreign.found(many.slice(1)))
        assert.strictEqual(counted(lines, "100.70.0.0/24 is the gateway's own again"), 1)
        assert.deepStrictEqual(foreign.list(), many.slice(1))
      }).pipe(Effect.provide(ForeignNetworksLive.layer))
    )
  )
})
