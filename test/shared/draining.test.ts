import { assert, describe, it } from "@effect/vitest"
import { Draining } from "../../src/shared/draining.ts"
import type { Heartbeat, Meeting } from "../../src/shared/meeting.ts"

const heartbeat = (gateway: number, at: number, more: Partial<Heartbeat> = {}): Heartbeat => ({
  gateway,
  at,
  epoch: 1,
  clients: 0,
  masterSince: null,
  heir: null,
  address: `192.0.2.${gateway}`,
  port: 51_820,
  draining: false,
  about: null,
  ...more
})
const meeting = (dateMs: number, ...heartbeats: ReadonlyArray<Heartbeat>): Meeting => ({
  dateMs,
  epoch: 1,
  before: null,
  heartbeats: [heartbeat(0, dateMs), ...heartbeats],
  sightings: [],
  read: new Map(),
  last: true
})

/** Gateway 0 drains from the start, and has said so at 1,000. */
const begun = (...others: ReadonlyArray<Heartbeat>) => {
  const draining = new Draining()
  draining.begin(77)
  draining.see(meeting(1_000, ...others), 0, true)
  return draining
}
const untold = (draining: Draining) => draining.report()?.untold

describe("a gateway that gives its clients away", () => {
  it("is known of when each of the others has been there twice after that was said", () => {
    const draining = begun(heartbeat(1, 900), heartbeat(2, 950))
    assert.deepStrictEqual(untold(draining), [1, 2])
    draining.see(meeting(2_000, heartbeat(1, 1_900), heartbeat(2, 950)), 0, true)
    draining.see(meeting(3_000, heartbeat(1, 2_900), heartbeat(2, 2_950)), 0, true)
    assert.deepStrictEqual(untold(draining), [2])
    draining.see(meeting(4_000, heartbeat(1, 3_900), heartbeat(2, 3_950)), 0, true)
    assert.deepStrictEqual(draining.report(), { since: 77, untold: [], told: [1, 2], older: [] })
  })

  it("is not waited for by one that is silent, nor known of by one that came before it was said", () => {
    const draining = begun(heartbeat(1, 900))
    draining.see(meeting(1_500, heartbeat(1, 900)), 0, true)
    assert.deepStrictEqual(untold(draining), [1])
    draining.see(meeting(5_000, heartbeat(1, 900)), 0, true)
    assert.deepStrictEqual(draining.report(), { since: 77, untold: [], told: [], older: [] })
  })

  it("is known of by one of an older version, which can be handed nothing", () => {
    const draining = new Draining()
    draining.begin(0)
    for (const at of [1_000, 2_000, 3_000]) draining.see(meeting(at, heartbeat(1, at - 10, { port: null })), 0, true)
    assert.deepStrictEqual(draining.report()?.older, [1])
  })

  it("begins anew after it has ended", () => {
    const draining = begun()
    for (const at of [2_000, 3_000]) draining.see(meeting(at, heartbeat(1, at - 10)), 0, true)
    assert.deepStrictEqual(untold(draining), [])
    draining.end()
    assert.isNull(draining.report())
    draining.begin(88)
    draining.see(meeting(4_000, heartbeat(1, 3_990)), 0, true)
    assert.deepInclude(draining.report(), { since: 88, untold: [1] })
  })

  it("tells where the others are that live and can be handed something", () => {
    const all = meeting(
      10_000,
      heartbeat(1, 9_000, { draining: true }),
      heartbeat(2, 9_000, { address: null }),
      heartbeat(3, 9_000, { port: null }),
      heartbeat(4, 1_000)
    )
    assert.deepStrictEqual(new Draining().see(all, 0, false), [
      { gateway: 1, epoch: 1, address: "192.0.2.1", port: 51_820, draining: true },
      { gateway: 2, epoch: 1, address: null, port: 51_820, draining: false }
    ])
  })
})
