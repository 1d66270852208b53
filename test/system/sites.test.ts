/** Two sites over one PostgreSQL: one client has a peer for each, and reaches by name what has the same address in both. */
import { assert, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import { Lab, LabError } from "../../src/lab/demo/Lab.ts"
import { dig } from "../support/lab.ts"
import { inSite } from "../support/site.ts"
import { startSites } from "../support/sites.ts"

it.live("names of both sites are told by either gateway, and lead to the site that serves them", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    const { gateways, servers } = yield* startSites
    const [atBerlin = "", , atTokyo = ""] = servers
    const ask = (server: string, name: string) =>
      dig("client", server, `${name}.internal`, "A").pipe(
        Effect.map(([first = ""]) => first),
        Effect.filterOrFail(
          (first) => first !== "",
          () => new LabError({ message: `${server} tells nothing of ${name}` })
        ),
        Effect.retry({ schedule: Schedule.spaced("100 millis"), times: 50 })
      )
    const get = (proxy: string) =>
      lab.exec("client", ["curl", "--silent", "--show-error", "--max-time", "10", `http://${proxy}/`])
    const soon = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      Effect.retry(effect, { schedule: Schedule.spaced("50 millis"), times: 100 })

    const berlin = yield* ask(atBerlin, "app.berlin")
    const tokyo = yield* ask(atBerlin, "app.tokyo")
    assert.notStrictEqual(berlin, tokyo)
    const asked = Date.now()
    assert.deepStrictEqual(yield* Effect.all([soon(get(berlin)), soon(get(tokyo))], { concurrency: 2 }), [
      "berlin",
      "tokyo"
    ])
    yield* Effect.logInfo(`both were reached ${Date.now() - asked} ms after the answers`)

    assert.strictEqual(yield* ask(atTokyo, "app.tokyo"), tokyo)
    assert.strictEqual(yield* ask(atTokyo, "app.berlin"), berlin)
    for (const [name, gateway] of Object.entries(gateways)) {
      const { mappings } = yield* gateway.status
      assert.deepStrictEqual([...new Set(mappings.map(({ domain }) => domain))], [`app.${name}.internal`])
    }
  }).pipe(inSite)
)
