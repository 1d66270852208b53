import { assert, describe, it } from "@effect/vitest"
import { readiness, type ReadinessInput } from "../../src/monitor/readiness.ts"

const up: ReadinessInput = {
  dataPlaneCounters: { "worker.ready": 1 },
  configured: true,
  host: { wrong: null },
  // The others do not know of it yet.
  draining: { mayMove: false },
  dnsServers: [
    { server: "udp://10.0.0.53", silentSince: 5 },
    { server: "udp://10.0.1.53", silentSince: null }
  ]
}
const wrong = (change: Partial<ReadinessInput>) =>
  readiness({ ...up, ...change }).flatMap(({ part, why }) => (why === null ? [] : [`${part}: ${why}`]))

/** What takes each part away, and what is said then. */
const faults = [
  [{ configured: false }, "tunnel: the tunnel has not been set up yet"],
  [
    { host: { wrong: { since: 1, what: ["the device is gone: restart", "and more"] } } },
    "host: the device is gone: restart"
  ],
  [{ dataPlaneCounters: { "worker.ready": 0 } }, "worker: the packet worker does not run"],
  [{ dnsServers: up.dnsServers.slice(0, 1) }, "resolver: no DNS server answers: udp://10.0.0.53"],
  [{ draining: { mayMove: true } }, "site: it gives its clients away (sallyport drain)"]
] as const satisfies ReadonlyArray<readonly [Partial<ReadinessInput>, string]>

describe("readiness", () => {
  it("is there with tunnel, host, worker and one DNS server, and while the others do not know that it is drained", () => {
    assert.deepStrictEqual(wrong({}), [])
    assert.deepStrictEqual(wrong({ dnsServers: [], dataPlaneCounters: {}, draining: null }), [])
  })

  it("names each part that is missing, and why, whatever else is", () => {
    for (let set = 1; set < 1 << faults.length; set++) {
      const chosen = faults.filter((_, i) => (set & (1 << i)) !== 0)
      assert.deepStrictEqual(
        wrong(Object.assign({}, ...chosen.map(([change]) => change))),
        chosen.map(([, said]) => said)
      )
    }
  })
})
