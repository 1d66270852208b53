import { assert, describe, it } from "@effect/vitest"
import { readiness, type ReadinessInput } from "../../src/monitor/readiness.ts"

const up: ReadinessInput = {
  dataPlaneCounters: { "worker.ready": 1 },
  configured: true,
  host: { wrong: null },
  dnsServers: [
    { server: "udp://10.0.0.53", silentSince: 5 },
    { server: "udp://10.0.1.53", silentSince: null }
  ]
}
const wrong = (change: Partial<ReadinessInput>) =>
  readiness({ ...up, ...change }).flatMap(({ part, why }) => (why === null ? [] : [`${part}: ${why}`]))

describe("readiness", () => {
  it("is there with tunnel, host, worker and one DNS server", () => {
    assert.deepStrictEqual(wrong({}), [])
    assert.deepStrictEqual(wrong({ dnsServers: [], dataPlaneCounters: {} }), [])
  })

  it("names each part that is missing, and why", () => {
    assert.deepStrictEqual(wrong({ configured: false }), ["tunnel: the tunnel has not been set up yet"])
    assert.deepStrictEqual(wrong({ dataPlaneCounters: { "worker.ready": 0 } }), [
      "worker: the packet worker does not run"
    ])
    assert.deepStrictEqual(wrong({ host: { wrong: { since: 1, what: ["the device is gone: restart"] } } }), [
      "host: the device is gone: restart"
    ])
    assert.deepStrictEqual(wrong({ dnsServers: up.dnsServers.slice(0, 1) }), [
      "resolver: no DNS server answers: udp://10.0.0.53"
    ])
  })
})
