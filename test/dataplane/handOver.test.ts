/** What gateways of a site hand each other while one of them gives its clients away. */
import { assert, describe, it } from "@effect/vitest"
import { parseAddress } from "../../src/packet/address.ts"
import { makeEndpoint } from "../../src/packet/endpoint.ts"
import { addresses, key, proxy4, tunnel4 } from "../support/engineWorld.ts"
import { buildTcp, buildUdp } from "../support/packets.ts"
import { makeTwoGateways } from "../support/twoGateways.ts"

const real = "10.20.0.10"
const ports = { sourcePort: 5_000, destinationPort: 7 }
const asked = buildUdp({ source: tunnel4(1), destination: proxy4, ...ports })
const replied = buildUdp({ source: real, destination: tunnel4(1), sourcePort: 7, destinationPort: 5_000 })

/** Gateway 0 gives its client away, and the address is at gateway 1; the client does not get its calls yet. */
const moved = (keys?: ReadonlyArray<Uint8Array | undefined>) => {
  const site = makeTwoGateways(keys)
  site.send(asked)
  site.pass(20_000)
  site.gateways[0].forwarded()
  site.drain(0)
  site.call(false)
  site.moveAddress(1)
  return site
}

/** The client is called at its first packet, and answers. */
const answer = (site: ReturnType<typeof moved>) => {
  site.call(true)
  site.send(asked)
  site.pass(200)
}

/** How many packets each of them has sent to the network since it was asked last. */
const forwarded = ({ gateways }: ReturnType<typeof moved>) => gateways.map((each) => each.forwarded().length)

describe("of a client whose address has moved away from the gateway that it is at", () => {
  it("what it sends is forwarded there, and replies that come to the other one go to it", () => {
    const site = moved()
    site.send(asked)
    assert.deepStrictEqual(forwarded(site), [1, 0])
    site.gateways[1].routeIn(replied)
    site.deliver()
    assert.lengthOf(site.client.received, 1)
    assert.deepStrictEqual(site.lost, [])
  })

  it("all goes straight as soon as it has answered the call, but for flows that only the former gateway knows", () => {
    const site = moved()
    answer(site)
    forwarded(site)
    site.send(buildUdp({ source: tunnel4(1), destination: proxy4, sourcePort: 5_001, destinationPort: 7 }))
    assert.deepStrictEqual(forwarded(site), [0, 1])
    site.gateways[1].routeIn(replied)
    site.deliver()
    assert.lengthOf(site.client.received, 1)
    assert.deepStrictEqual(site.lost, [])
  })

  it("nothing is handed over any more when it has been at the other one for five seconds", () => {
    const site = moved()
    answer(site)
    site.pass(6_000)
    const before = site.gateways[1].count("hand_over.sent")
    site.gateways[1].routeIn(buildUdp({ source: real, destination: tunnel4(1), sourcePort: 7, destinationPort: 5_009 }))
    assert.strictEqual(site.gateways[1].count("inbound.no_session"), 1)
    assert.strictEqual(site.gateways[1].count("hand_over.sent"), before)
  })

  it("what the other one has to look up first goes by the former one, which knows", () => {
    const site = moved()
    site.gateways[1].tell(addresses(1, 2, "Unasked"))
    answer(site)
    forwarded(site)
    site.send(buildTcp({ source: tunnel4(1), destination: proxy4, sourcePort: 5_002, destinationPort: 7, flags: 0x10 }))
    site.deliver()
    assert.deepStrictEqual(forwarded(site), [1, 0])
    assert.strictEqual(site.gateways[1].count("outbound.parked"), 0)
  })

  it("nothing is handed to a gateway that does not give its clients away", () => {
    const site = moved()
    site.drain(null)
    site.send(asked)
    site.gateways[1].routeIn(replied)
    site.deliver()
    assert.deepStrictEqual(forwarded(site), [0, 0])
    assert.strictEqual(site.gateways[1].count("inbound.no_session"), 1)
  })

  it("what the other one has to look up first waits there, where the former one cannot be reached", () => {
    const site = moved()
    answer(site)
    site.gateways[1].tell(addresses(1, 2, "Unasked"))
    site.gateways[1].tell({
      _tag: "SetSiblings",
      gateway: 1,
      draining: false,
      siblings: [
        { gateway: 0, epoch: 1, address: null, port: 51_820, draining: false },
        { gateway: 7, epoch: 1, address: null, port: 51_820, draining: true }
      ]
    })
    site.send(buildTcp({ source: tunnel4(1), destination: proxy4, sourcePort: 5_002, destinationPort: 7, flags: 0x10 }))
    assert.strictEqual(site.gateways[1].count("outbound.parked"), 1)
  })

  it("a new session is no arrival: nothing is handed over for that", () => {
    const site = moved()
    answer(site)
    site.pass(6_000)
    site.gateways[1].tell(addresses(1, 2, "Unasked"))
    site.rekey()
    const before = site.gateways[1].count("hand_over.sent")
    site.send(buildTcp({ source: tunnel4(1), destination: proxy4, sourcePort: 5_002, destinationPort: 7, flags: 0x10 }))
    assert.strictEqual(site.gateways[1].count("hand_over.sent"), before)
    assert.strictEqual(site.gateways[1].count("outbound.parked"), 1)
  })

  it("is reached by the former one itself, where the other one is gone", () => {
    const site = moved()
    site.send(asked)
    forwarded(site)
    site.gateways[0].tell({ _tag: "SetSiblings", gateway: 0, draining: false, siblings: [] })
    site.moveAddress(0)
    site.gateways[0].routeIn(replied)
    assert.lengthOf(site.client.received, 1)
    assert.deepStrictEqual(site.frames, [])
  })

  it("what came from one gateway goes to none again", () => {
    const site = moved()
    site.gateways[0].tell({
      _tag: "SetSiblings",
      gateway: 0,
      draining: true,
      siblings: [{ gateway: 1, epoch: 1, address: "10.0.0.2", port: 51_820, draining: true }]
    })
    site.deliver()
    const before = site.gateways.map((each) => each.count("hand_over.sent"))
    site.gateways[1].routeIn(buildUdp({ source: real, destination: tunnel4(1), sourcePort: 7, destinationPort: 5_009 }))
    site.deliver()
    assert.deepStrictEqual(
      site.gateways.map((each, i) => each.count("hand_over.sent") - before[i]!),
      [0, 1]
    )
  })
})

describe("within one second", () => {
  const most = 100_000

  it("no more than 100,000 datagrams are handed over", () => {
    const site = moved()
    const [, next] = site.gateways
    const unknown = buildUdp({ source: real, destination: tunnel4(1), sourcePort: 7, destinationPort: 5_009 })
    const flood = (count: number) => {
      next.routeIn(...Array.from({ length: count }, () => unknown))
      site.frames.length = 0
      return [next.count("hand_over.sent") - before, next.count("hand_over.limited")]
    }
    site.pass(1_000)
    const before = next.count("hand_over.sent")
    for (let n = 0; n < most; n += 1_000) flood(1_000)
    assert.deepStrictEqual(flood(7), [most, 7])
    site.pass(1_000)
    assert.deepStrictEqual(flood(7), [most + 7, 7])
  })

  it("no more than 100,000 are looked at, whoever sends them", () => {
    const site = moved()
    const [former] = site.gateways
    const junk = new Uint8Array(76).fill(9)
    junk[0] = 0xf5
    site.pass(1_000)
    for (let n = 0; n < most; n += 1_000) former.hear(...Array.from({ length: 1_000 }, () => junk))
    forwarded(site)
    site.send(asked)
    assert.deepStrictEqual([...forwarded(site), former.count("hand_over.limited")], [0, 0, 1])
    site.pass(1_000)
    site.send(asked)
    assert.deepStrictEqual(forwarded(site), [1, 0])
  })
})

describe("what only seems to come from another gateway", () => {
  /** What the client sends is under way from gateway 1 to gateway 0. */
  const underWay = (keys?: ReadonlyArray<Uint8Array | undefined>) => {
    const site = moved(keys)
    site.gateways[1].arrive(site.client.endpoint, sealed(site))
    const [{ bytes } = { bytes: new Uint8Array() }] = site.frames.splice(0)
    assert.strictEqual(bytes[0], 0xf5)
    return { site, bytes, refused: () => site.gateways[0].count("hand_over.refused") }
  }
  const sealed = ({ client }: ReturnType<typeof moved>) => {
    client.seal(asked)
    return client.outbox.splice(0)[0]!
  }

  it("is refused with one bit changed, wherever, or cut short", () => {
    const { bytes, refused, site } = underWay()
    let wrong = 0
    for (let at = 1; at < bytes.length; at++) {
      if (at === 2 || at === 3) continue
      // Numbers that are not known are looked at ten times a second.
      if (at % 8 === 0) site.pass(1_000)
      const changed = bytes.slice()
      changed[at]! ^= 1 << (at % 8)
      site.gateways[0].hear(changed)
      wrong++
    }
    for (const length of [1, 24, 75, 76, bytes.length - 1]) site.gateways[0].hear(bytes.slice(0, length))
    assert.isAtLeast(refused(), wrong)
    assert.deepStrictEqual(forwarded(site), [0, 0])
    site.gateways[0].hear(bytes)
    assert.deepStrictEqual(forwarded(site), [1, 0])
  })

  it("is refused when it comes again", () => {
    const { bytes, refused, site } = underWay()
    site.gateways[0].hear(bytes)
    site.gateways[0].hear(bytes)
    assert.deepStrictEqual(forwarded(site), [1, 0])
    assert.strictEqual(refused(), 1)
  })

  it("is refused under another key than the site's", () => {
    const site = makeTwoGateways([undefined, key(0x42)])
    site.drain(0)
    assert.isAtLeast(site.gateways[0].count("hand_over.refused"), 1)
    assert.strictEqual(site.gateways[0].count("hand_over.received"), 0)
  })

  /** Its worker begins anew, and is heard of. */
  const startAnew = (site: ReturnType<typeof moved>): void => {
    site.pass(1_000)
    const siblings = [{ gateway: 0, epoch: 1, address: "10.0.0.1", port: 51_820, draining: true }]
    for (const gateway of [5, 1]) site.gateways[1].tell({ _tag: "SetSiblings", gateway, draining: false, siblings })
    site.deliver()
  }

  it("is refused when it was sent before that one began anew", () => {
    const { bytes, refused, site } = underWay()
    startAnew(site)
    const before = refused()
    site.gateways[0].hear(bytes)
    assert.strictEqual(refused(), before + 1)
    assert.deepStrictEqual(forwarded(site), [0, 0])
  })

  it("is heard of one whose clock was set back, once it is known that this is another life of it", () => {
    const { bytes, site } = underWay()
    startAnew(site)
    const siblings = [{ gateway: 1, epoch: 2, address: "10.0.0.2", port: 51_820, draining: false }]
    site.gateways[0].tell({ _tag: "SetSiblings", gateway: 0, draining: true, siblings })
    site.gateways[0].hear(bytes)
    assert.deepStrictEqual(forwarded(site), [1, 0])
  })

  it("does not keep that one from being heard, however many numbers somebody else makes up", () => {
    const { bytes, refused, site } = underWay()
    const elsewhere = makeEndpoint()
    Object.assign(elsewhere.remote, parseAddress("203.0.113.7"))
    site.pass(1_000)
    for (let n = 0; n < 200; n++) {
      const stranger = bytes.slice()
      stranger[4] = 0xff
      stranger[5] = n
      site.gateways[0].arrive(elsewhere, stranger)
    }
    assert.strictEqual(refused(), 200)
    site.gateways[0].hear(bytes)
    const received = site.gateways[0].count("hand_over.received")
    startAnew(site)
    assert.isAbove(site.gateways[0].count("hand_over.received"), received)
    assert.deepStrictEqual(forwarded(site), [1, 0])
  })
})
