import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { TestClock } from "effect/testing"
import * as ResolverMemory from "../../layers/memory/ResolverMemory.ts"
import type { MappingId } from "../../src/model/Mapping.ts"
import { Refresh } from "../../src/resolution/Refresh.ts"
import { Resolutions } from "../../src/resolution/Resolutions.ts"
import { NameNotFound, ServerFailure } from "../../src/resolution/Resolver.ts"
import { latestAddresses, layerResolutions, lookups, proxies, subscription, withoutJitter } from "../support/access.ts"
import { RefreshModel, type Reply } from "./refreshModel.ts"

const ttlSeconds = 20
const domains = ["a.corp", "b.corp", "c.corp"] as const
// A client that asks for c.corp after a.corp has renumbered.
const proxyOf = (domain: string) => (domain === "b.corp" ? 2 : 1)

const client = Schema.Literals([0, 1])
// Mostly one name, so that its back-off grows.
const domain = Schema.Literals(["a.corp", "a.corp", "a.corp", "a.corp", "b.corp", "c.corp"])
const cause = Schema.Literals(["Unmapped", "Unanswered", "Unreachable", "Stale"])
const millis = Schema.Literals([1, 999, 1_000, 1_001, 1_999, 2_000, 3_999, 19_000, 19_999, 20_000, 59_999, 60_000])
const advance = Schema.TaggedStruct("Advance", { millis })
const subscribe = Schema.TaggedStruct("Subscribe", { client, domain })
const traffic = Schema.TaggedStruct("Traffic", { client, domain, cause })
const Step = Schema.Union([
  subscribe,
  traffic,
  traffic,
  traffic,
  advance,
  advance,
  advance,
  Schema.TaggedStruct("Answered", { client, domain }),
  Schema.TaggedStruct("Release", { client, domain }),
  Schema.TaggedStruct("Script", { domain, reply: Schema.Literals(["10.0.0.1", "10.0.0.2", "NameNotFound", "Failing"]) })
])
type Step = typeof Step.Type

const steps = Schema.Array(Step).check(Schema.isMinLength(30), Schema.isMaxLength(70))

const behaviourOf = (reply: string): ResolverMemory.Behaviour =>
  reply === "NameNotFound"
    ? ResolverMemory.fail(new NameNotFound({ ttlSeconds: 0 }))
    : reply === "Failing"
      ? ResolverMemory.fail(new ServerFailure({ detail: "SERVFAIL" }))
      : ResolverMemory.answer([reply], ttlSeconds)

const settle = Effect.repeat(TestClock.adjust(0), { times: 2 })

const idOf = (n: number, name: string) =>
  Effect.map(Resolutions, (r) => r.find(subscription(name, n).client, subscription(name, n).resource.id, name)).pipe(
    Effect.flatten,
    Effect.map((row) => row?.mapping.id)
  )

/** Does one step to the real thing. */
const act = Effect.fnUntraced(function* (step: Step) {
  const resolutions = yield* Resolutions
  const refresh = yield* Refresh
  const script = yield* ResolverMemory.ResolverScript
  const notice = (mapping: MappingId | undefined, what: typeof cause.Type | "Answered") =>
    mapping === undefined ? Effect.void : refresh.traffic({ _tag: "Traffic", epoch: 1, mapping, cause: what })
  switch (step._tag) {
    case "Subscribe": {
      const asked = { ...subscription(step.domain, step.client), proxyIps: proxies(proxyOf(step.domain)) }
      yield* resolutions.subscribe(asked)
      break
    }
    case "Traffic":
      yield* notice(yield* idOf(step.client, step.domain), step.cause)
      break
    case "Answered":
      yield* notice(yield* idOf(step.client, step.domain), "Answered")
      break
    case "Release": {
      const id = yield* idOf(step.client, step.domain)
      if (id !== undefined) yield* resolutions.release(id)
      break
    }
    case "Script":
      yield* script.set(step.domain, behaviourOf(step.reply))
      break
    case "Advance":
      yield* TestClock.adjust(step.millis)
  }
  yield* settle
})

/** What the data plane was told last of every mapping must be what `list` shows; returns it. */
const consistentView = Effect.gen(function* () {
  const resolutions = yield* Resolutions
  const told = yield* latestAddresses
  const view = new Map<string, Reply | "Failing">()
  for (const { mapping, state } of yield* resolutions.list) {
    const addresses = state._tag === "Resolved" ? state.addresses : []
    assert.strictEqual(told.get(mapping.id)?.state, state._tag)
    assert.deepStrictEqual(told.get(mapping.id)?.addresses, addresses)
    const reason = state._tag === "Unresolved" ? state.reason._tag : null
    const failed = reason === "NameNotFound" ? reason : "Failing"
    view.set(`${mapping.client} ${mapping.name.domain}`, reason === null ? addresses : failed)
  }
  assert.strictEqual(told.size, view.size)
  return view
})

/** However things stand: after 90 s in which nothing answers, names with traffic are right 2 s after the end. */
const outage = Effect.gen(function* () {
  const script = yield* ResolverMemory.ResolverScript
  const asked = domains.map((name, n) => ({ _tag: "Subscribe", client: n === 2 ? 1 : 0, domain: name }) as const)
  for (const name of domains) yield* script.set(name, behaviourOf("Failing"))
  for (const step of asked) yield* act(step)
  for (let second = 0; second < 90; second += 10) {
    for (const step of asked) yield* act({ ...step, _tag: "Traffic", cause: "Unreachable" })
    yield* TestClock.adjust("10 seconds")
  }
  for (const name of domains) yield* script.set(name, behaviourOf("10.0.0.9"))
  yield* TestClock.adjust("2 seconds")
  const after = yield* consistentView
  for (const { client, domain } of asked) {
    assert.deepStrictEqual(after.get(`client-${client} ${domain}`), ["10.0.0.9"], `${domain} after the outage`)
  }
})

describe("mappings and refreshes", () => {
  it.effect.prop(
    "look up when the reference model does, and show what it shows, for any history of a resolver that answers",
    [steps],
    ([history]) =>
      Effect.gen(function* () {
        const script = yield* ResolverMemory.ResolverScript
        const replies = new Map<string, Reply>()
        const model = new RefreshModel({
          reply: (name) => replies.get(name) ?? ["10.0.0.1"],
          ttlMs: ttlSeconds * 1_000,
          proxyOf
        })
        yield* script.set("*", behaviourOf("10.0.0.1"))
        for (const step of history) {
          const named = "client" in step ? ([`client-${step.client}`, step.domain] as const) : null
          if (step._tag === "Script") {
            if (step.reply === "Failing") continue
            replies.set(step.domain, step.reply === "NameNotFound" ? step.reply : [step.reply])
          }
          yield* act(step)
          if (step._tag === "Subscribe") model.subscribe(...named!)
          if (step._tag === "Traffic") model.traffic(...named!, step.cause)
          if (step._tag === "Answered") model.answered(...named!)
          if (step._tag === "Release") model.release(...named!)
          if (step._tag === "Advance") model.advance(step.millis)

          assert.strictEqual(yield* lookups, model.lookups, `lookups after ${JSON.stringify(step)} at ${model.now}`)
          assert.deepStrictEqual(Object.fromEntries(yield* consistentView), Object.fromEntries(model.view))
        }
      }).pipe(Effect.provide(layerResolutions, { local: true }), withoutJitter),
    { arbitrary: { runs: 300, seed: 20 }, timeout: 60_000 }
  )

  it.effect.prop(
    "show the last real answer whatever fails, never storm, and heal within 2 s, for any history",
    [steps],
    ([history]) =>
      Effect.gen(function* () {
        const script = yield* ResolverMemory.ResolverScript
        const replies = new Map<string, string>()
        const shown = new Map<string, Reply | "Failing">()
        let now = 0
        let seen = 0
        yield* script.set("*", behaviourOf("10.0.0.1"))
        for (const step of history) {
          yield* act(step)
          if (step._tag === "Script") replies.set(step.domain, step.reply)
          if (step._tag === "Advance") now += step.millis
          const calls = yield* script.calls
          for (const call of calls.slice(seen)) {
            const reply = replies.get(call.name.domain) ?? "10.0.0.1"
            if (reply !== "Failing") shown.set(call.name.domain, reply === "NameNotFound" ? reply : [reply])
            else if (!shown.has(call.name.domain)) shown.set(call.name.domain, "Failing")
          }
          seen = calls.length
          const view = yield* consistentView
          const live = new Set([...view.keys()].map((key) => key.split(" ")[1]!))
          // A name that nobody has mapped is forgotten.
          for (const name of domains) if (!live.has(name)) shown.delete(name)
          for (const [key, reply] of view) {
            const expected = shown.get(key.split(" ")[1]!)
            // A failure says nothing of a name that does not exist; an address list outlives it for 30 minutes.
            if (expected === "NameNotFound") assert.strictEqual(reply, expected, key)
            if (Array.isArray(expected) && now < 1_800_000) assert.deepStrictEqual(reply, expected, key)
            if (!Array.isArray(expected)) assert.isFalse(Array.isArray(reply), key)
          }
        }
        for (const name of domains) {
          const times = (yield* script.calls).filter((call) => call.name.domain === name).map((call) => call.at)
          for (const from of times) {
            const inMinute = times.filter((t) => t >= from && t < from + 60_000).length
            assert.isAtMost(
              inMinute,
              61 + 2 * history.length,
              "no more than a probe a second, and the steps themselves"
            )
          }
        }

        yield* outage
      }).pipe(Effect.provide(layerResolutions, { local: true }), withoutJitter),
    { arbitrary: { runs: 150, seed: 21 }, timeout: 60_000 }
  )
})
