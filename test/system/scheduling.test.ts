/** A packet worker with little to do is a real-time thread, a busy one is ordinary, and so are all other threads always. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Schedule } from "effect"
import { execFileSync, spawnSync } from "node:child_process"
import process from "node:process"
import { fileURLToPath } from "node:url"
import { Lab } from "../../src/lab/demo/Lab.ts"
import { curl, inLab, inner } from "../support/lab.ts"
import { connectSallyport, startWorld, type World } from "../support/labWorld.ts"
import { policiesOf, type Policy } from "../support/schedulingPolicies.ts"

const script = fileURLToPath(new URL("scripts/scheduling.ts", import.meta.url))

/** What this host lets root do: a container may be without CAP_SYS_NICE. */
const permitted = spawnSync("chrt", ["--rr", "1", "true"], { timeout: 10_000 }).status === 0

const unprivileged = ["setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice"]

/** A thread becomes a real-time one, an ordinary one, and a real-time one again. */
const scenario = (...wrapper: ReadonlyArray<string>) => {
  const command = [...wrapper, process.execPath, script]
  return JSON.parse(execFileSync(command[0]!, command.slice(1), { encoding: "utf8", timeout: 30_000 }))
}

const real = { done: true, policy: "round robin 1" }
const ordinary = { done: true, policy: "ordinary" }
const refused = { done: false, policy: "ordinary" }

describe("a thread", () => {
  it("becomes a real-time one and an ordinary one; what it starts is ordinary", () => {
    assert.deepStrictEqual(scenario(), {
      steps: permitted ? [real, ordinary, real] : [refused, ordinary, refused],
      child: "ordinary",
      later: "ordinary"
    })
  })

  it("without CAP_SYS_NICE stays ordinary", () => {
    assert.deepStrictEqual(scenario(...unprivileged).steps, [refused, ordinary, refused])
  })

  it("without CAP_SYS_NICE does as well as with it where its limit (RLIMIT_RTPRIO) allows", () => {
    const limit = permitted && spawnSync("prlimit", ["--rtprio=1", "true"], { timeout: 10_000 }).status === 0
    const steps = limit ? [real, ordinary, real] : [refused, ordinary, refused]

    assert.deepStrictEqual(scenario(...(limit ? ["prlimit", "--rtprio=1"] : []), ...unprivileged).steps, steps)
  })
})

/** The policies of those of the gateway's threads that are not ordinary. */
const realTime = ({ gateway }: World) =>
  Effect.sync(() => policiesOf(gateway.process.pid).filter((policy) => policy !== "ordinary"))

/** The same as soon as they are so many, or after 5 s. */
const settled = (world: World, count: number) =>
  realTime(world).pipe(
    Effect.repeat({
      until: (found) => found.length === count,
      schedule: Schedule.spaced("20 millis"),
      times: 250
    })
  )

const told = ({ gateway }: World) =>
  Effect.map(gateway.status, ({ counters }) => counters.dataPlane["worker.real_time"])

const one: ReadonlyArray<Policy> = permitted ? ["round robin 1"] : []

it.live(
  "the gateway's worker is the only real-time thread while little passes, ordinary during a download, and back after it",
  () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      const world = yield* startWorld()
      yield* connectSallyport(world)
      const address = yield* world.proxyOf()
      yield* lab.spawn("lan", ["iperf3", "--server", "--one-off", "--bind", inner.origin.v4, "--port", "5201"])

      const before = yield* settled(world, one.length)
      const toldBefore = yield* told(world)
      const load = ["iperf3", "--client", address, "--port", "5201", "--time", "5", "--reverse"]
      const download = yield* Effect.forkScoped(lab.exec("client", load, { timeout: "20 seconds" }))
      // Real-time or not: by now it has seen more than 50 ms of work.
      yield* Effect.sleep("1 second")
      const during = yield* settled(world, 0)
      const toldDuring = yield* told(world)
      const ended = download.pollUnsafe() !== undefined
      yield* Fiber.join(download)
      const after = yield* settled(world, one.length)

      assert.deepStrictEqual([before, during, after], [one, [], one])
      assert.deepStrictEqual([toldBefore, toldDuring], [one.length, 0])
      assert.isFalse(ended)
    }).pipe(inLab),
  { timeout: 120_000 }
)

it.live(
  "with SALLYPORT_REAL_TIME=false no thread of the gateway is a real-time one",
  () =>
    Effect.gen(function* () {
      const world = yield* startWorld({ env: { SALLYPORT_REAL_TIME: "false" } })
      yield* connectSallyport(world)
      const address = yield* world.proxyOf()
      yield* Effect.sleep("1 second")

      const page = yield* curl("client", `http://${address}/bytes/1000`)

      assert.strictEqual(page.size_download, 1_000)
      assert.deepStrictEqual([yield* realTime(world), yield* told(world)], [[], 0])
    }).pipe(inLab),
  { timeout: 120_000 }
)
