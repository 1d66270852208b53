import { assert, describe, it } from "@effect/vitest"
import { nextNotice, nothingTold, type ServiceStanding } from "../../src/host/serviceStanding.ts"
import { readiness } from "../../src/monitor/readiness.ts"

interface State {
  readonly configured?: boolean
  readonly worker?: boolean
  readonly dns?: boolean
  readonly connected?: number
}

const standing = ({ configured = true, connected = 1, dns = true, worker = true }: State = {}): ServiceStanding => ({
  connected,
  needs: ["tunnel", "worker"],
  parts: readiness({
    configured,
    dataPlaneCounters: { "worker.ready": Number(worker) },
    host: { wrong: null },
    draining: null,
    dnsServers: [{ server: "192.0.2.53", silentSince: dns ? null : 0 }]
  })
})

const atStart = nextNotice(standing(), nothingTold, 30_000, 0)!.told
const notice = (state: State, told = atStart, now = 1_000) => nextNotice(standing(state), told, 30_000, now)?.notice

describe("a service manager", () => {
  it("hears once that the gateway is ready, and then only what has changed", () => {
    const first = nextNotice(standing(), nothingTold, null, 0)!

    assert.deepStrictEqual(first.notice, { state: "ready", status: "1 client connected" })
    assert.isNull(nextNotice(standing(), first.told, null, 1_000))
    assert.deepStrictEqual(nextNotice(standing({ connected: 2 }), first.told, null, 2_000)?.notice, {
      status: "2 clients connected"
    })
  })

  it("is asked for more time, and told why, until packets can be forwarded", () => {
    for (const state of [{ configured: false }, { worker: false }]) {
      const waiting = nextNotice(standing(state), nothingTold, null, 0)!

      assert.isUndefined(waiting.notice.state)
      assert.match(waiting.notice.status ?? "", /^starting: the (tunnel|packet worker) /)
      assert.deepStrictEqual(nextNotice(standing(state), waiting.told, null, 1_000)?.notice, { extendMs: 30_000 })
      assert.strictEqual(nextNotice(standing(), waiting.told, null, 2_000)?.notice.state, "ready")
    }
  })

  it("takes a gateway for ready that waits for its portal, and is told so", () => {
    const waiting = { ...standing({ configured: false, connected: 0 }), needs: ["worker"] as const }

    assert.deepStrictEqual(nextNotice(waiting, nothingTold, null, 0)?.notice, {
      state: "ready",
      status: "the tunnel has not been set up yet; 0 clients connected"
    })
  })

  it("takes a gateway for ready whose DNS servers are silent, and is told so", () => {
    assert.deepStrictEqual(nextNotice(standing({ dns: false }), nothingTold, null, 0)?.notice, {
      state: "ready",
      status: "no DNS server answers: 192.0.2.53; 1 client connected"
    })
  })

  it("hears three times within its watchdog's time that the gateway is alive", () => {
    assert.isUndefined(notice({}, atStart, 9_999))
    assert.deepStrictEqual(notice({}, atStart, 10_000), { alive: true })
  })

  it("hears no sign of life while the packet worker does not answer, and again once it does", () => {
    const stalled = nextNotice(standing({ worker: false }), atStart, 30_000, 60_000)!

    assert.deepStrictEqual(stalled.notice, { status: "the packet worker does not run; 1 client connected" })
    assert.deepStrictEqual(notice({}, stalled.told, 61_000), { status: "1 client connected", alive: true })
  })
})
