import { assert, describe, it } from "@effect/vitest"
import type { IceAgentOptions } from "../../src/ice/IceAgent.ts"
import { eagerTimings, patientTimings } from "../../src/ice/iceTimings.ts"
import { parseStun } from "../../src/ice/stun.ts"
import { at, Network, Side } from "./network.ts"

const here = at("192.0.2.1", 1000)
const there = at("192.0.2.2", 52_625)

const pair = (options: Partial<IceAgentOptions> = {}) => {
  const network = new Network()
  const client = new Side(network, "controlling", undefined, options)
  const gateway = new Side(network, "controlled", undefined, options)
  const told = { client: client.host(here), gateway: gateway.host(there) }
  return { network, client, gateway, told }
}

const connected = (options: Partial<IceAgentOptions> = {}) => {
  const world = pair(options)
  world.gateway.hear(world.told.client)
  world.client.hear(world.told.gateway)
  world.network.run(100)
  assert.isNotNull(world.client.path)
  assert.isNotNull(world.gateway.path)
  return world
}

/** When requests left from `address` after `since`, in ms after it. */
const requests = (network: Network, from: string, since: number) =>
  network.sent
    .filter((sent) => sent.from === from && sent.at >= since && parseStun(sent.bytes)?.class === "request")
    .map((sent) => sent.at - since)

/** The differences between neighbours. */
const gaps = (times: ReadonlyArray<number>) => times.slice(1).map((time, i) => time - times[i]!)

describe("a pair that never answers", () => {
  it("is checked 8 times by the controlling side, at 250 ms doubled up to 1.5 s, and given up after 1.5 s more", () => {
    const { client, network, told } = pair()
    client.hear(told.gateway)
    network.blocked = () => true

    network.run(10_749)
    assert.deepStrictEqual(requests(network, "192.0.2.1:1000", 0), [0, 250, 750, 1750, 3250, 4750, 6250, 7750])
    assert.strictEqual(client.agent.state, "disconnected")
    assert.deepStrictEqual(client.failures, [])
    // Given up at 9,250 ms; then another pair may come up for 2 s.
    network.run(11_250)
    assert.strictEqual(client.agent.state, "failed")
    assert.deepStrictEqual(client.failures, ["IceFailed"])
    assert.strictEqual(client.agent.nextDeadline(), Number.POSITIVE_INFINITY)
  })

  it("is checked for minutes by the controlled side", () => {
    const { gateway, network, told } = pair()
    gateway.hear(told.client)
    network.blocked = () => true

    network.run(2_000_000)

    const times = requests(network, "192.0.2.2:52625", 0)
    assert.lengthOf(times, 45)
    assert.deepStrictEqual(gaps(times).slice(0, 8), [250, 500, 1000, 2000, 4000, 8000, 15_000, 15_000])
    assert.deepStrictEqual(gateway.failures, ["IceFailed"])
  })

  it("gets 8 checks only while another one is in use", () => {
    const { gateway, network } = connected()
    const before = network.now
    gateway.hear({ ...gateway.host(at("192.0.2.9", 9)), address: at("192.0.2.77", 77) })

    network.run(before + 600_000)

    const toDeadEnd = network.sent.filter((sent) => sent.to === "192.0.2.77:77")
    // From each of its two addresses.
    assert.lengthOf(toDeadEnd, 16)
    assert.strictEqual(gateway.agent.state, "connected")
  })
})

describe("a pair in use", () => {
  for (const [name, options, from, every, idleAfter, idleEvery] of [
    ["controlling", {}, "192.0.2.1:1000", 1_500, 10_000, 60_000],
    ["controlled", {}, "192.0.2.2:52625", 15_000, 20_000, 25_000],
    ["controlled, with eager timers,", { timings: eagerTimings }, "192.0.2.2:52625", 1_500, 10_000, 60_000]
  ] as const) {
    it(`is checked by the ${name} side every ${every} ms, without data for ${idleAfter} ms every ${idleEvery} ms`, () => {
      const { client, gateway, network } = connected(options)
      const start = network.now
      for (let i = 0; i < 60; i++) {
        network.later(i * 1_000, () => {
          client.agent.activity(network.now)
          gateway.agent.activity(network.now)
        })
      }

      network.run(start + 59_500)
      const busy = gaps(requests(network, from, start))
      network.run(start + 600_000)
      const idle = gaps(requests(network, from, start + 59_000 + idleAfter))
      const woken = network.now
      client.agent.activity(woken)
      gateway.agent.activity(woken)
      network.run(woken + 5_000)

      assert.isAtLeast(busy.length, 2)
      assert.isTrue(
        busy.every((gap) => gap === every),
        busy.join(" ")
      )
      assert.isAtLeast(idle.length, 6)
      assert.isTrue(
        idle.every((gap) => gap === idleEvery),
        idle.join(" ")
      )
      assert.strictEqual(requests(network, from, woken)[0], 0, "a woken agent checks at once")
    })
  }

  it("is checked at half the time while answers are missing, and given up after 8 of them", () => {
    const { client, network } = connected({ timings: { ...eagerTimings, idleAfter: 3_600_000 } })
    const start = network.now
    network.run(start + 1_000)
    const cut = network.now
    network.blocked = () => true

    network.run(cut + 30_000)

    const times = requests(network, "192.0.2.1:1000", cut)
    assert.lengthOf(times, 8)
    assert.deepStrictEqual(gaps(times), [750, 750, 750, 750, 750, 750, 750])
    assert.isNull(client.path)
    assert.deepStrictEqual(client.failures, ["IceFailed"])
    assert.deepStrictEqual(
      client.nominated.map((path) => path !== null),
      [true, false]
    )
  })

  it("is noticed as dead after about 10 s with data by the controlling side, after 3 to 4 min without", () => {
    const deathAfter = (idleFor: number) => {
      const { client, network } = connected()
      network.run(network.now + idleFor)
      const cut = network.now
      network.blocked = () => true
      for (let i = 0; i < 20; i++) {
        if (idleFor === 0) network.later(i * 1_000, () => client.agent.activity(network.now))
      }
      network.run(cut + 600_000, () => client.failures.length > 0)
      return (network.now - cut) / 1_000
    }

    assert.closeTo(deathAfter(0), 10, 2)
    assert.closeTo(deathAfter(30_000), 210, 30)
  })

  it("survives 10 % loss in each direction for an hour", () => {
    for (const seed of [1, 2, 3, 4, 5]) {
      const network = new Network(seed)
      network.loss = 0.1
      const client = new Side(network, "controlling")
      const gateway = new Side(network, "controlled")
      gateway.hear(client.host(here))
      client.hear(gateway.host(there))
      network.run(20_000)
      assert.isNotNull(client.path, `seed ${seed}`)
      for (let i = 0; i < 720; i++) {
        network.later(i * 5_000, () => {
          client.agent.activity(network.now)
          gateway.agent.activity(network.now)
        })
      }

      network.run(3_600_000)

      assert.lengthOf(client.nominated, 1, `seed ${seed}`)
      assert.lengthOf(gateway.nominated, 1, `seed ${seed}`)
    }
  })
})

describe("an agent that idles", () => {
  it("sends a check in 25 s as a gateway's, besides its answers", () => {
    const { client, gateway, network } = connected()
    network.run(200_000)
    const start = network.now

    network.run(start + 600_000)

    const fromGateway = network.sent.filter((sent) => sent.at > start && sent.from === "192.0.2.2:52625")
    // 24 checks, and answers to the client's 10.
    assert.isAtMost(fromGateway.length, 35)
    assert.isAbove(gateway.agent.nextDeadline(), network.now + 1)
    assert.isAbove(client.agent.nextDeadline(), network.now + 1)
  })

  it("does not take up a path again that it had found dead", () => {
    const network = new Network()
    const client = new Side(network, "controlling", undefined, {
      timings: { ...eagerTimings, active: { ...eagerTimings.active, maxRetransmits: 100 } }
    })
    const gateway = new Side(network, "controlled")
    gateway.hear(client.host(at("192.0.2.1", 1000)), client.host(at("2001:db8::1", 1000)))
    client.hear(gateway.host(at("192.0.2.2", 52_625)), gateway.host(at("2001:db8::2", 52_625)))
    network.run(1_000)
    assert.strictEqual(client.path, "[2001:db8::1]:1000 > [2001:db8::2]:52625")
    network.blocked = (from) => from.address.w2 !== 0xffff
    for (let i = 0; i < 8; i++) network.later(i * 1_000, () => client.agent.activity(network.now))
    network.run(8_000)
    assert.strictEqual(client.path, "192.0.2.1:1000 > 192.0.2.2:52625")

    network.run(20_000)
    client.agent.activity(network.now)
    network.run(20_100)

    assert.strictEqual(client.path, "192.0.2.1:1000 > 192.0.2.2:52625")
    assert.strictEqual(gateway.path, "192.0.2.2:52625 > 192.0.2.1:1000")
  })
})

describe("an agent without anything to check", () => {
  it("fails after 10 s without a candidate of the peer", () => {
    const { gateway, network } = pair()

    network.run(9_999)
    assert.strictEqual(gateway.agent.state, "checking")
    network.run(10_000)

    assert.strictEqual(gateway.agent.state, "failed")
    assert.deepStrictEqual(gateway.failures, ["NoCandidates"])
  })

  it("does not fail when a candidate comes in time", () => {
    const { client, gateway, network, told } = pair()
    network.later(9_000, () => {
      gateway.hear(told.client)
      client.hear(told.gateway)
    })

    network.run(11_000)

    assert.strictEqual(gateway.agent.state, "connected")
  })

  it("waits 2 s for another pair after the last one is gone", () => {
    const { client, gateway, network, told } = connected()
    gateway.agent.removeRemote(told.client, network.now)
    assert.strictEqual(gateway.agent.state, "disconnected")
    network.run(network.now + 1_900)
    assert.strictEqual(gateway.agent.state, "disconnected")

    gateway.hear(client.host(at("192.0.2.3", 3)))
    assert.strictEqual(gateway.agent.state, "checking")
    network.run(network.now + 5_000)

    assert.strictEqual(gateway.agent.state, "connected")
    assert.strictEqual(gateway.path, "192.0.2.2:52625 > 192.0.2.3:3")
    assert.deepStrictEqual(gateway.failures, [])
  })
})

describe("the timers", () => {
  it("are those of the peers", () => {
    assert.deepStrictEqual(eagerTimings, {
      active: { maxRetransmits: 8, maxRto: 1_500, initialRto: 250 },
      idle: { maxRetransmits: 4, maxRto: 60_000, initialRto: 60_000 },
      idleAfter: 10_000
    })
    assert.deepStrictEqual(patientTimings, {
      active: { maxRetransmits: 45, maxRto: 15_000, initialRto: 250 },
      idle: { maxRetransmits: 40, maxRto: 25_000, initialRto: 25_000 },
      idleAfter: 20_000
    })
  })
})
