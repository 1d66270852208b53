import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { clients, domains, hour, oneSite, type Rules, rules, Site, twoSites } from "./siteModel.ts"

const gateway = Schema.Literals([0, 1, 2])
type Gateway = typeof gateway.Type
const client = Schema.Literals(clients)
const Ask = Schema.TaggedStruct("Ask", { gateway, client, domain: Schema.Literals(domains) })
/** All names, so that some make room for others and a gateway runs out of slots. */
const AskAll = Schema.TaggedStruct("AskAll", { gateway, client })
const Exchange = Schema.TaggedStruct("Exchange", {
  gateway,
  steps: Schema.Literals([5, 5, 5, 5, 4, 3, 2, 1]),
  isLost: Schema.Literals([false, false, false, true])
})
const Advance = Schema.TaggedStruct("Advance", { hours: Schema.Literals([1, 12, 23, 24, 25]) })
const Step = Schema.Union([
  Ask,
  Ask,
  AskAll,
  AskAll,
  Exchange,
  Exchange,
  Exchange,
  Exchange,
  Advance,
  Advance,
  Schema.TaggedStruct("Crash", { gateway, powerLoss: Schema.Boolean }),
  Schema.TaggedStruct("Start", { gateway }),
  Schema.TaggedStruct("Reach", { gateway, engine: Schema.Literals([true, true, false]) }),
  Schema.TaggedStruct("Policy", { gateway, version: Schema.Literals([0, 1, 2, 3]) }),
  Schema.TaggedStruct("Engine", {
    does: Schema.Literals(["leave", "return", "return", "restart", "backUp", "restore"])
  })
])
type Step = typeof Step.Type

const take = (site: Site, step: Step): void => {
  switch (step._tag) {
    case "Ask":
      return site.ask(step.client, step.domain, step.gateway)
    case "AskAll":
      for (const domain of domains) site.ask(step.client, domain, step.gateway)
      return
    case "Exchange":
      return site.gateways[step.gateway]!.exchange(step.steps, step.isLost)
    case "Advance":
      return site.advance(step.hours * hour)
    case "Crash":
      return site.gateways[step.gateway]!.crash(step.powerLoss)
    case "Start":
      return site.gateways[step.gateway]!.start()
    case "Reach":
      site.gateways[step.gateway]!.reachesEngine = step.engine
      return
    case "Policy":
      site.gateways[step.gateway]!.policy = step.version
      return
    case "Engine": {
      const { engine } = site
      if (step.does === "leave" || step.does === "return") engine.isAway = step.does === "leave"
      else engine[step.does]()
    }
  }
}

const live = (steps: ReadonlyArray<Step>, of: Rules = rules, layout = oneSite): void => {
  const site = new Site(of, layout)
  for (const step of steps) {
    take(site, step)
    site.check()
  }
}

describe("several gateways over one engine, whatever happens to any of them", () => {
  it.prop(
    "no address stands for two names at a client, exact names have the same one everywhere, and new names get theirs",
    [Schema.Array(Step).check(Schema.isMinLength(40), Schema.isMaxLength(120))],
    ([steps]) => live(steps),
    { arbitrary: { runs: 200, seed: 7 } }
  )

  it.prop(
    "so it is where they are of two sites, and each name has an address that leads to the one that serves it, also when it moves",
    [Schema.Array(Step).check(Schema.isMinLength(40), Schema.isMaxLength(120))],
    ([steps]) => live(steps, rules, twoSites),
    { arbitrary: { runs: 200, seed: 7 } }
  )
})

const ask = (domain: string): Step => ({ _tag: "Ask", gateway: 0, client: "alice", domain: `${domain}.corp` })
const askAll = (of: Gateway = 0): Step => ({ _tag: "AskAll", gateway: of, client: "alice" })
const exchange = (of: Gateway = 0): Step => ({ _tag: "Exchange", gateway: of, steps: 5, isLost: false })
const advance = (hours: 23 | 24 | 25): Step => ({ _tag: "Advance", hours })
const day = advance(24)
const loseDisk: Step = { _tag: "Crash", gateway: 0, powerLoss: true }
const start: Step = { _tag: "Start", gateway: 0 }
const newPolicy = (of: Gateway = 0): Step => ({ _tag: "Policy", gateway: of, version: 2 })
const backUp: Step = { _tag: "Engine", does: "backUp" }
const restore: Step = { _tag: "Engine", does: "restore" }

/** The backup has a name that the gateway released two days ago. */
const twoDaysLater = [exchange(), askAll(), exchange(), backUp, ask("f"), exchange(), day, day, exchange()]

/** What each rule is for: a history that goes wrong without it. Exact names are a to h, and i to r by the new policy. */
const needs: Record<keyof Rules, ReadonlyArray<Step>> = {
  // The second gateway has not heard that i was released, and two days later its slot is another name's.
  deadline: [exchange(), askAll(), exchange(), ask("f"), exchange(1), exchange(), day, day, exchange(), askAll()],
  rest: [exchange(), askAll(), exchange(), ask("f"), exchange(), exchange(), askAll()],
  // The second gateway has read just before the removal came to the engine, two days after the release.
  readBack: [exchange(), askAll(), exchange(), ask("f"), advance(25), exchange(1), advance(23), exchange(), askAll()],
  durable: [exchange(), askAll(), loseDisk, start, exchange(), ask("t")],
  // The engine loses where a is, too, which the client was told.
  durableRead: [exchange(), ask("a"), loseDisk, restore, start, newPolicy(), exchange()],
  heal: [exchange(), ask("a"), restore, newPolicy(), exchange()],
  barrier: [exchange(), restore, newPolicy(1), exchange(1)],
  // The second gateway reads a name that the first one has released two days ago.
  void: [...twoDaysLater, restore, exchange(1), askAll()]
}

describe("without the rule", () => {
  for (const [rule, steps] of Object.entries(needs)) {
    it(`${rule} a history goes wrong that goes well with it`, () => {
      live(steps)
      assert.throws(() => live(steps, { ...rules, [rule]: false }), /stands for/)
    })
  }
})

describe("with the engine away for days", () => {
  it("a gateway goes on to give its own slots, and forgets what others gave", () => {
    const site = new Site()
    const [first, second] = site.gateways
    for (const gateway of [first, second]) gateway!.exchange(5, false)
    site.ask("alice", "s.corp", 0)
    for (const gateway of [first, second]) gateway!.exchange(5, false)
    site.engine.isAway = true
    for (const n of [0, 1, 2]) {
      site.ask("alice", domains[16 + n]!, 1)
      site.advance(20 * hour)
      for (const gateway of [first, second]) gateway!.exchange(5, false)
      site.check()
    }
    assert.deepStrictEqual([...second!.translations("alice").values()].toSorted(), ["q.corp", "r.corp", "s.corp"])
    assert.isFalse(second!.translations("alice").has(48))
    assert.isTrue(first!.translations("alice").has(48))
  })
})

describe("two gateways that think they are the same one (a copied state directory)", () => {
  it("tell it when their names meet in the engine, and the name that came later gets another slot", () => {
    const site = new Site(rules, oneSite, ["first", "first", "third"])
    const [one, two, third] = site.gateways
    for (const gateway of [one, two]) gateway!.exchange(5, false)
    site.ask("alice", "q.corp", 0)
    site.ask("alice", "r.corp", 1)
    for (const gateway of [one, two]) gateway!.exchange(5, false)
    assert.strictEqual(site.contradictions, 1)
    site.ask("alice", "r.corp", 1)
    for (const gateway of [two, one, third]) gateway!.exchange(5, false)
    assert.strictEqual(site.contradictions, 1)
    const names = [...third!.translations("alice").values()].toSorted()
    assert.deepStrictEqual(names, ["q.corp", "r.corp"])
    for (const gateway of [one, two])
      assert.deepStrictEqual(gateway!.translations("alice"), third!.translations("alice"))
  })
})
