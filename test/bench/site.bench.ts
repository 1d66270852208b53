/**
 * What many gateways of a site cost each other: `npm run bench:site`. They run in one process, without packets, over one real
 * PostgreSQL on the same host: what each of them says once a second, keeps and reads is the real thing. A site has at most
 * 256 gateways, so there are sites of 250, each in a database of its own, in which the same happens at a time.
 *
 * It tells how soon a name that one of them gives is known at each of the others, and a policy in force at each, from before
 * it is put or applied; how soon all have read on after PostgreSQL was killed while names are given; how soon one that was
 * away has read what an hour of changes has left; and what memory each takes. Options: `--gateways`, `--names` that are
 * given, `--pause` between them in ms, `--missed` names within that hour, `--json`, `--record FILE`.
 */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { Effect, Fiber, Logger } from "effect"
import { readdirSync, readFileSync } from "node:fs"
import process from "node:process"
import { open } from "../../layers/postgres/PolicyStore.ts"
import { startPostgres } from "../support/postgres.ts"
import { addressOf } from "../support/sharedStore.ts"
import { latencies, option, report } from "./support/report.ts"
import { aDirectory, type Heard, type Member, policyOf, startMember } from "./support/siteMembers.ts"

const gateways = option("gateways", 100)
const names = option("names", 40)
const pauseMs = option("pause", 1_000)
const missed = option("missed", 36_000)
const perSite = 250
const limitMs = 1_000

const collect = (globalThis as { readonly gc?: () => void }).gc
if (collect === undefined) throw new Error("run this with node --expose-gc")
const used = (): number => {
  collect()
  return process.memoryUsage().rss
}
const say = (text: string) => Effect.sync(() => void process.stderr.write(`${text}\n`))

/** What is awaited of a site's members: how long after it began each of them had it. */
const awaited = new Map<string, { readonly since: number; readonly times: Array<number> }>()
const heardAt = (site: number): Heard => {
  const hear = (what: string) => {
    const one = awaited.get(`${site} ${what}`)
    one?.times.push(performance.now() - one.since)
  }
  return { name: hear, policy: (version) => hear(`policy ${version}`) }
}
/** Yields the times of all members of a site, once there are so many or the time is up. */
const timesOf = Effect.fnUntraced(function* (what: string, count: number, doing: Effect.Effect<unknown, unknown>) {
  const times: Array<number> = []
  awaited.set(what, { since: performance.now(), times })
  yield* doing
  for (let waited = 0; times.length < count && waited < 20_000; waited += 10) yield* Effect.sleep(10)
  awaited.delete(what)
  if (times.length < count) yield* say(`${what}: ${count - times.length} members of ${count} do not have it after 20 s`)
  return times
})

/** Milliseconds until all are so. */
const untilAll = Effect.fnUntraced(function* (
  members: ReadonlyArray<Member>,
  isSo: (member: Member) => Effect.Effect<boolean, unknown>
) {
  const since = performance.now()
  let left = members
  while (left.length > 0) {
    left = yield* Effect.filter(left, (member) => Effect.map(isSo(member), (is) => !is))
    if (performance.now() - since > 120_000)
      return yield* Effect.die(new Error(`${left.length} members are not so far`))
    yield* Effect.sleep(20)
  }
  return performance.now() - since
})

/** Of all processes that serve a connection: memory that is nobody else's, in bytes; and how many they are. */
const backends = () => {
  let [bytes, count] = [0, 0]
  for (const pid of readdirSync("/proc").filter((entry) => /^\d+$/.test(entry))) {
    try {
      if (!readFileSync(`/proc/${pid}/cmdline`, "utf8").startsWith("postgres: sallyport ")) continue
      const [, kib] = /^Private_Dirty:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))!
      bytes += Number(kib) * 1_024
      count++
    } catch {
      // It has ended.
    }
  }
  return { bytes, count }
}

const bench = Effect.gen(function* () {
  const sites = Math.ceil(gateways / perSite)
  const postgres = yield* startPostgres({ connections: 2 * gateways + 20 })
  const addresses = yield* Effect.replicateEffect(
    Effect.map(postgres.database, (database) => addressOf(database, postgres)),
    sites
  )
  const policies = yield* aDirectory
  const before = used()
  const began = performance.now()
  const members = yield* Effect.forEach(Array.from({ length: gateways }), (_, i) =>
    startMember(addresses[i % sites]!, policies, heardAt(i % sites))
  )
  yield* untilAll(members, ({ isReady }) => isReady)
  const readyMs = performance.now() - began
  yield* say(`${gateways} members, in ${sites} databases, are ready after ${Math.round(readyMs)} ms`)
  yield* Effect.sleep(5_000)
  const memory = (used() - before) / gateways
  const served = backends()
  const ofSite = (site: number) => members.filter((_, i) => i % sites === site)
  const all = Array.from({ length: sites }, (_, site) => ({ site, members: ofSite(site) }))

  let given = 0
  const giveIn = (site: number, some: ReadonlyArray<Member>) => {
    const domain = `n${given++}.bench.internal`
    const giver = some[given % some.length]!
    return timesOf(`${site} ${domain}`, some.length - 1, giver.give(domain))
  }
  const known: Array<ReadonlyArray<number>> = []
  for (let i = 0; i < names; i++) {
    known.push(...(yield* Effect.forEach(all, (one) => giveIn(one.site, one.members), { concurrency: "unbounded" })))
    yield* Effect.sleep(pauseMs)
  }
  yield* say("names are done")

  const applied: Array<ReadonlyArray<number>> = []
  for (let version = 1; version <= 10; version++) {
    const apply = (site: number) =>
      Effect.gen(function* () {
        const store = yield* open(addresses[site]!)
        const { policy } = yield* store.newest
        return store.apply({ text: policyOf(`c${version}`), by: "bench", compared: policy?.token ?? null })
      })
    const some = yield* Effect.forEach(
      all,
      (one) =>
        Effect.flatMap(apply(one.site), (doing) => timesOf(`${one.site} policy ${version}`, one.members.length, doing)),
      { concurrency: "unbounded" }
    ).pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer))
    applied.push(...some)
    yield* Effect.sleep(pauseMs)
  }
  yield* say("policies are done")

  // One that is away, and what the others do meanwhile.
  const directory = yield* aDirectory
  const absent = yield* startMember(addresses[0]!, policies, heardAt(0), directory)
  yield* untilAll([absent], ({ isReady }) => isReady)
  const knew = yield* absent.known
  yield* absent.end
  const [first] = all
  for (let i = 0; i < missed; i++) yield* first!.members[i % first!.members.length]!.give(`m${i}.bench.internal`)
  yield* untilAll(first!.members, ({ untold }) => Effect.map(untold, (count) => count === 0))
  const backAt = performance.now()
  const back = yield* startMember(addresses[0]!, policies, heardAt(0), directory)
  const builtMs = performance.now() - backAt
  yield* untilAll([back], (member) => Effect.map(member.known, (count) => count >= knew + missed))
  const caughtUpMs = performance.now() - backAt
  yield* back.end
  yield* say("the one that was away is back")

  const load = yield* Effect.forkChild(
    Effect.forever(
      Effect.andThen(
        Effect.suspend(() => members[given % members.length]!.give(`l${given++}.bench.internal`)),
        Effect.sleep(50)
      )
    )
  )
  yield* Effect.sleep(2_000)
  yield* postgres.kill
  yield* Effect.sleep(3_000)
  yield* postgres.start
  const upAt = Date.now()
  const backMs = yield* untilAll(members, ({ isConnected, readAt }) =>
    Effect.map(Effect.all([isConnected, readAt]), ([connected, date]) => connected && date !== null && date >= upAt)
  )
  yield* Fiber.interrupt(load)

  report(`${gateways} gateways, ${sites} sites of ${Math.ceil(gateways / sites)}, in one process over one PostgreSQL`, [
    { name: "all have joined a new site, together", value: readyMs, unit: "ms" },
    ...latencies("a name given → known at each other gateway", known.flat(), limitMs),
    ...latencies(
      "the same, at the last one",
      known.map((times) => Math.max(...times))
    ),
    ...latencies("a policy applied → in force at each", applied.flat(), limitMs),
    ...latencies(
      "the same, at the last one",
      applied.map((times) => Math.max(...times))
    ),
    { name: `away, ${missed} names missed: started`, value: builtMs, unit: "ms" },
    { name: "the same: all of them known", value: caughtUpMs, unit: "ms" },
    { name: "PostgreSQL is back after a kill → all have read on", value: backMs, unit: "ms" },
    { name: "memory of a member", value: memory / 2 ** 20, unit: "MiB" },
    { name: "connections of a member", value: served.count / gateways, unit: "", target: 2 },
    { name: "memory of PostgreSQL for each", value: served.bytes / served.count / 2 ** 20, unit: "MiB" }
  ])
})

await Effect.runPromise(Effect.scoped(bench).pipe(Effect.provide(Logger.layer([]))))
process.exit()
