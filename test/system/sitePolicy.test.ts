/** `sallyport apply`: one file is the policy of all gateways of a site, at once, and never an earlier one again. */
import { assert, it } from "@effect/vitest"
import { Effect, Queue, Schedule } from "effect"
import type { StatusReport } from "../../src/cli/statusReport.ts"
import { Lab, LabError } from "../../src/lab/demo/Lab.ts"
import { type Gateway, tunnelAddresses } from "../../src/lab/demo/tunnel.ts"
import { curl, dig, inner } from "../support/lab.ts"
import { appName } from "../support/labWorld.ts"
import { giveAddress, inSite, type SiteGateway, startSite } from "../support/site.ts"

/** From the moment that a policy is written to its being in force at all gateways. */
const mostMs = 1_000

type Policy = NonNullable<NonNullable<StatusReport["site"]>["policy"]>

const until = (gateway: Gateway, isSo: (policy: Policy) => boolean) =>
  gateway.status.pipe(
    Effect.map(({ site }) => site!.policy!),
    Effect.filterOrFail(isSo, (policy) => new LabError({ message: JSON.stringify(policy) })),
    Effect.retry({ schedule: Schedule.spaced("100 millis"), times: 150 })
  )

it.live(
  "an applied policy is in force at all gateways within a second, and no earlier one after it",
  () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      const site = yield* startSite
      yield* site.nameServer.set({ name: appName, a: [inner.origin.v4], ttl: 60 })
      const apply = Effect.fnUntraced(function* (policy: string, gateway: SiteGateway = "gateway") {
        const file = yield* lab.writeFile("policy.yaml", policy)
        return yield* lab.exec(gateway, [...lab.program("sallyport"), "apply", file])
      })
      const withoutOpen = site.config.replace(/ {2}open:\n(?: {4}.*\n)+/, "").replaceAll("visitor, open", "visitor")
      const withoutVisitor = site.config.replace("allow: [visitor, open]", "allow: [open]")
      const [first, second] = yield* Effect.all([site.start("gateway"), site.start("otherGateway")], { concurrency: 2 })
      assert.strictEqual((yield* until(first, () => true)).inForce, null)

      const told = yield* apply(withoutOpen)
      assert.match(told, /policy 1 is in force at all 2 living gateways after \d+ ms/)
      for (const gateway of [first, second]) {
        const { clients, site } = yield* gateway.status
        assert.deepStrictEqual([clients.map(({ name }) => name), site?.policy?.inForce?.version], [["visitor"], 1])
      }

      yield* giveAddress("otherGateway")
      yield* site.connect("client", first.publicKey)
      const [proxy = ""] = yield* dig("client", tunnelAddresses.gateway.v4, appName, "A")
      assert.match(proxy, /^100\./)
      const pings = yield* lab.spawn("client", ["ping", "-n", "-D", "-i", "0.05", proxy])
      const replies = Effect.map(Queue.clear(pings.lines), (lines) =>
        lines.flatMap((line) => {
          const at = /^\[([\d.]+)\] .* bytes from /.exec(line)?.[1]
          return at === undefined ? [] : [Number(at) * 1_000]
        })
      )
      yield* Effect.retry(
        Effect.filterOrFail(replies, (dates) => dates.length > 0),
        { schedule: Schedule.spaced("100 millis"), times: 50 }
      )

      // At the gateway where the client is not.
      const revoked = yield* apply(withoutVisitor)
      assert.match(revoked, /visitor: intranet .* removed/)
      const { at: appliedAt } = (yield* until(second, ({ inForce }) => inForce?.version === 2)).inForce!
      yield* Effect.sleep(mostMs)
      const last = (yield* replies).reduce((a, b) => Math.max(a, b), 0)
      assert.isBelow(last - appliedAt, mostMs)
      yield* site.connect("openClient", first.publicKey)
      const [other = ""] = yield* dig("openClient", tunnelAddresses.gateway.v4, appName, "A")
      const { errormsg, http_code } = yield* curl("openClient", `http://${other}/`)
      assert.strictEqual(http_code, 200, errormsg ?? undefined)

      // As from a backup of before.
      yield* site.postgres.sql(
        `DELETE FROM sallyport.policy WHERE version = 2; UPDATE sallyport.gateway SET policy_version = NULL;
       SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'sallyport'`,
        site.database
      )
      for (const gateway of [first, second]) {
        const { inForce, refused } = yield* until(gateway, ({ refused }) => refused !== null)
        assert.strictEqual(inForce?.version, 2)
        assert.match(refused!.why, /^the site has policy 1, and policy 2 goes on here/)
      }
      assert.match(yield* apply(withoutVisitor, "otherGateway"), /policy 3 is in force at all 2 living gateways/)
      assert.strictEqual((yield* until(first, ({ inForce }) => inForce?.version === 3)).refused, null)

      yield* site.postgres.kill
      yield* first.process.kill
      const again = yield* site.start("gateway")
      assert.strictEqual((yield* until(again, () => true)).inForce?.version, 3)
      yield* Effect.logInfo(
        `${/after \d+ ms/.exec(told)?.[0]}, ${/after \d+ ms/.exec(revoked)?.[0]}; the flow was cut ${Math.round(last - appliedAt)} ms after the policy was written`
      )
    }).pipe(inSite),
  120_000
)
