/** What a peer, or someone who is none, can send: nothing of it moves an agent that it is not for. */
import { assert, describe, it } from "@effect/vitest"
import { Arbitrary } from "effect"
import { localCandidate } from "../../src/ice/candidate.ts"
import { IceAgent } from "../../src/ice/IceAgent.ts"
import { writeAnswer, writeCheck } from "../../src/ice/iceMessages.ts"
import { parseStun } from "../../src/ice/stun.ts"
import { shortTermKey } from "../../src/ice/stunIntegrity.ts"
import { StunAttribute, StunMethod } from "../../src/ice/stunProtocol.ts"
import { StunWriter } from "../../src/ice/StunWriter.ts"
import { formatTransport } from "../../src/packet/transportAddress.ts"
import { bytes, integer } from "../support/packetArbitraries.ts"
import { at, credentials, Network, Side } from "./network.ts"

const maxRemoteCandidates = 100
const maxUnproven = 16
const maxPairs = 100
const clientHost = at("192.0.2.1", 1000)
const gatewayHost = at("192.0.2.2", 52_625)
const stranger = at("203.0.113.66", 666)
const gatewayKey = shortTermKey(credentials("controlled").password)
const clientKey = shortTermKey(credentials("controlling").password)

const connected = () => {
  const network = new Network()
  const client = new Side(network, "controlling")
  const gateway = new Side(network, "controlled")
  const told = client.host(clientHost)
  gateway.hear(told)
  client.hear(gateway.host(gatewayHost))
  network.run(1_000)
  assert.isNotNull(gateway.path)
  return { network, client, gateway, told }
}

/** A check of the client's to the gateway, with some of it otherwise. */
const check = (
  change: {
    readonly username?: string
    readonly key?: Uint8Array
    readonly id?: number
    readonly nominate?: boolean
  } = {}
) =>
  writeCheck(
    {
      transaction: new Uint8Array(12).fill(change.id ?? 7),
      username: change.username ?? "lled:ling",
      role: "controlling",
      tieBreaker: new Uint8Array(8),
      priority: 0x6e00_00ff,
      nominate: change.nominate ?? true
    },
    change.key ?? gatewayKey
  )

const isAnswerTo = (request: Uint8Array, answer: Uint8Array): boolean => {
  const message = parseStun(answer)
  return message?.class === "success" && formatBytes(message.transaction) === formatBytes(request.subarray(8, 20))
}

const formatBytes = (all: Uint8Array): string => [...all].join()

/** Everything that can be seen of a side, and that goes out of it in the next minute. */
const observe = (side: Side, network: Network) => ({
  state: side.agent.state,
  path: side.path,
  nominated: side.nominated.length,
  deadline: side.agent.nextDeadline() - network.now,
  sentToStranger: network.sent.filter((sent) => sent.to === formatTransport(stranger)).length
})

describe("a message that is not authentic", () => {
  const wrong: ReadonlyArray<readonly [string, Uint8Array]> = [
    ["a check under another password", check({ key: shortTermKey("wrong") })],
    ["a check under the client's own password", check({ key: clientKey })],
    ["a check to another local fragment", check({ username: "xxxx:ling" })],
    ["a check from another remote fragment", check({ username: "lled:xxxx" })],
    ["a check with the fragments in the wrong order", check({ username: "ling:lled" })],
    [
      "a check without integrity",
      new StunWriter("request", StunMethod.binding, new Uint8Array(12))
        .text(StunAttribute.username, "lled:ling")
        .number(StunAttribute.priority, 1)
        .flag(StunAttribute.useCandidate)
        .finish()
    ],
    [
      "a check without priority",
      new StunWriter("request", StunMethod.binding, new Uint8Array(12))
        .text(StunAttribute.username, "lled:ling")
        .finish(gatewayKey)
    ],
    [
      "an allocation request",
      new StunWriter("request", StunMethod.allocate, new Uint8Array(12))
        .text(StunAttribute.username, "lled:ling")
        .number(StunAttribute.priority, 1)
        .finish(gatewayKey)
    ],
    [
      "an indication",
      new StunWriter("indication", StunMethod.binding, new Uint8Array(12))
        .text(StunAttribute.username, "lled:ling")
        .number(StunAttribute.priority, 1)
        .finish(gatewayKey)
    ],
    ["an answer to no check", writeAnswer(new Uint8Array(12), gatewayHost, clientKey)],
    [
      "a role conflict",
      new StunWriter("error", StunMethod.binding, new Uint8Array(12)).error(487, "Role Conflict").finish(clientKey)
    ]
  ]
  for (const [what, message] of wrong) {
    it(`changes nothing and gets no answer: ${what}`, () => {
      for (const from of [clientHost, stranger]) {
        const { gateway, network } = connected()
        const before = observe(gateway, network)
        const sent = network.sent.length

        gateway.receive(message, gatewayHost, from)

        assert.isFalse(gateway.used.at(-1))
        assert.deepStrictEqual(observe(gateway, network), before)
        assert.lengthOf(network.sent, sent)
      }
    })
  }

  it("as an answer does not prove a pair: wrong key, wrong source, wrong destination, twice", () => {
    const network = new Network()
    const sent: Array<Uint8Array> = []
    const agent = new IceAgent({
      role: "controlling",
      local: credentials("controlling"),
      remote: credentials("controlled"),
      tieBreaker: new Uint8Array(8),
      randomBytes: (out) => network.randomBytes(out),
      now: 0,
      transmit: (_, message) => sent.push(message),
      nominated: () => {},
      failed: () => {}
    })
    agent.addLocal(localCandidate("host", clientHost), 0)
    agent.addRemote(localCandidate("host", gatewayHost), 0)
    agent.advance(0)
    const asked = parseStun(sent[0]!)!
    const answer = (key: Uint8Array) => parseStun(writeAnswer(asked.transaction, clientHost, key))!

    assert.isFalse(agent.handle(answer(clientKey), clientHost, gatewayHost, 1))
    assert.isFalse(agent.handle(answer(gatewayKey), clientHost, stranger, 1))
    assert.isFalse(agent.handle(answer(gatewayKey), stranger, gatewayHost, 1))
    const unmapped = new StunWriter("success", StunMethod.binding, asked.transaction).finish(gatewayKey)
    assert.isFalse(agent.handle(parseStun(unmapped)!, clientHost, gatewayHost, 1))
    agent.advance(1)
    assert.lengthOf(sent, 1, "no nomination")

    assert.isTrue(agent.accepts(answer(gatewayKey)))
    assert.isTrue(agent.handle(answer(gatewayKey), clientHost, gatewayHost, 2))
    assert.isFalse(agent.accepts(answer(gatewayKey)))
    assert.isFalse(agent.handle(answer(gatewayKey), clientHost, gatewayHost, 3))
    agent.advance(3)
    assert.lengthOf(sent, 2, "the nomination")
  })
})

describe("a replayed check", () => {
  it("from the peer's address is answered and moves nothing", () => {
    const { gateway, network } = connected()
    const replayed = network.sent.find((sent) => parseStun(sent.bytes)?.has(StunAttribute.useCandidate) === true)!.bytes
    const before = observe(gateway, network)

    for (let i = 0; i < 1_000; i++) gateway.receive(replayed, gatewayHost, clientHost)

    assert.deepStrictEqual(observe(gateway, network), before)
  })

  it("from elsewhere nominates nothing, however often, and its check is given up", () => {
    const { gateway, network } = connected()
    const path = gateway.path
    const replayed = network.sent.find((sent) => parseStun(sent.bytes)?.has(StunAttribute.useCandidate) === true)!.bytes
    const start = network.now
    network.internetReceives(stranger)

    for (let i = 0; i < 100; i++) {
      network.later(i * 10, () => gateway.receive(replayed, gatewayHost, stranger))
    }
    network.run(start + 300_000)

    assert.strictEqual(gateway.path, path)
    assert.lengthOf(gateway.nominated, 1)
    const requests = network.sent.filter(
      (sent) => sent.to === formatTransport(stranger) && parseStun(sent.bytes)?.class === "request"
    )
    assert.isAtMost(requests.length, 30)
    const last = requests.at(-1)!.at
    assert.isBelow(last, start + 60_000)
  })

  it("from thousands of sources fills nothing, and crowds out no candidate that was told", () => {
    const { client, gateway, network } = connected()
    for (let i = 0; i < 5_000; i++) gateway.receive(check({ id: i % 256 }), gatewayHost, at("203.0.113.9", 1 + i))
    const checked = new Set<string>()
    const start = network.now
    network.run(start + 1)
    for (const sent of network.sent) {
      if (sent.at >= start && parseStun(sent.bytes)?.class === "request") checked.add(sent.to)
    }
    assert.isAtMost([...checked].filter((to) => to.startsWith("203.0.113.9:")).length, maxUnproven)

    gateway.hear({ ...client.host(at("192.0.2.9", 9)) })
    network.run(start + 1_000)
    assert.strictEqual(gateway.path, "192.0.2.2:52625 > 192.0.2.1:1000")
    network.blocked = (from, to) => from.port === 1000 || to.port === 1000
    network.run(start + 15_000)
    assert.strictEqual(gateway.path, "192.0.2.2:52625 > 192.0.2.9:9")
  })
})

describe("a recorded check", () => {
  it("repeated from ever new sources is not answered to all of them, and what a peer tells of still is", () => {
    const { client, gateway, network } = connected()
    const start = network.now
    for (let i = 0; i < 5_000; i++) gateway.receive(check({ id: i % 256 }), gatewayHost, at("203.0.113.9", 1 + i))
    network.run(start + 10_000)
    const reflected = network.sent.filter((sent) => sent.at >= start && sent.to.startsWith("203.0.113.9:"))
    assert.isBelow(reflected.length, 64 + maxUnproven * 10)

    const told = client.host(at("192.0.2.9", 9))
    gateway.hear(told)
    gateway.receive(check({ id: 3 }), gatewayHost, told.address)
    network.run(network.now + 1)
    assert.isNotEmpty(
      network.sent.filter((sent) => sent.to === "192.0.2.9:9" && parseStun(sent.bytes)?.class === "success")
    )
  })

  it("repeated from the peer's address without end is answered a thousand times a second, and costs no connection", () => {
    const { client, gateway, network } = connected()
    const start = network.now
    for (let i = 0; i < 10_000; i++) gateway.receive(check(), gatewayHost, clientHost)
    const answers = network.sent.filter(
      (sent) => sent.at >= start && sent.from === formatTransport(gatewayHost) && isAnswerTo(check(), sent.bytes)
    )
    assert.strictEqual(answers.length, 1_024)
    network.run(start + 30_000)
    assert.deepStrictEqual([gateway.agent.state, client.agent.state], ["connected", "connected"])
  })

  it("leaves room for the peer's own new sources a moment later", () => {
    const { gateway, network } = connected()
    for (let i = 0; i < 5_000; i++) gateway.receive(check({ id: i % 256 }), gatewayHost, at("203.0.113.9", 1 + i))
    network.run(network.now + 1_000)
    gateway.receive(check(), gatewayHost, at("192.0.2.77", 7))
    assert.isNotEmpty(network.sent.filter((sent) => sent.to === "192.0.2.77:7"))
  })
})

describe("a local address", () => {
  it("that a relay claims to have given goes with the relay, and our own stays", () => {
    const { gateway, network } = connected()
    const claimed = localCandidate("relay", gatewayHost)
    gateway.agent.addLocal(claimed, network.now)
    gateway.agent.removeLocal(claimed, network.now)
    assert.isNotNull(gateway.path)
    assert.strictEqual(gateway.agent.state, "connected")
  })
})

describe("a peer's candidates", () => {
  it("are ignored once removed, also as the source of checks, until they are told again", () => {
    const { client, gateway, network, told } = connected()
    gateway.agent.removeRemote(told, network.now)
    assert.isNull(gateway.path)
    const sent = network.sent.filter((message) => message.from === formatTransport(gatewayHost)).length

    network.run(network.now + 1_900)
    assert.isNull(gateway.path)
    assert.strictEqual(
      network.sent.filter((message) => message.from === formatTransport(gatewayHost)).length,
      sent,
      "no answer, no check"
    )
    gateway.hear(told)
    network.run(network.now + 5_000)

    assert.strictEqual(gateway.path, "192.0.2.2:52625 > 192.0.2.1:1000")
    assert.strictEqual(client.path, "192.0.2.1:1000 > 192.0.2.2:52625")
  })

  it("make 100 pairs at most, the best ones, and never cost the one in use", () => {
    const { gateway, network } = connected()
    for (let i = 0; i < 3; i++) gateway.host(at("192.0.2.3", 10 + i), 1 + i)

    const far = Array.from({ length: 1_000 }, (_, i) => ({
      ...localCandidate("host", at(`10.0.${i >> 8}.${i & 255}`, 1000)),
      priority: 1_000 + ((i * 37) % 90)
    }))
    gateway.hear(...far)
    const start = network.now
    network.run(start)

    const checked = network.sent.filter((sent) => sent.at === start && sent.to.startsWith("10."))
    assert.isAtMost(checked.length, maxPairs)
    // From four addresses each.
    const best = far.slice(0, maxRemoteCandidates - 1).toSorted((a, b) => b.priority - a.priority)
    for (const { address } of best.slice(0, 20)) {
      assert.lengthOf(
        checked.filter((sent) => sent.to === formatTransport(address)),
        4
      )
    }
    assert.strictEqual(gateway.path, "192.0.2.2:52625 > 192.0.2.1:1000")
    network.run(start + 1_000)
    assert.lengthOf(gateway.nominated, 1)
  })

  it("are taken twice, and removed twice, without effect", () => {
    const { client, gateway, network, told } = connected()
    const before = observe(gateway, network)

    gateway.hear(told, told)
    gateway.agent.addLocal(localCandidate("host", gatewayHost), network.now)
    gateway.agent.removeRemote(localCandidate("relay", at("198.51.100.1", 1)), network.now)
    gateway.agent.removeLocal(localCandidate("relay", at("198.51.100.1", 1)), network.now)
    client.agent.addLocal(localCandidate("srflx", at("203.0.113.1", 1)), network.now)

    assert.deepStrictEqual(observe(gateway, network), before)
  })
})

describe("a check", () => {
  it("to an address that is no candidate of ours is ignored", () => {
    const { gateway, network } = connected()
    const sent = network.sent.length

    gateway.receive(check(), at("192.0.2.2", 1), clientHost)

    assert.isFalse(gateway.used.at(-1))
    assert.lengthOf(network.sent, sent)
  })

  it("from a source that nobody told of makes a candidate, which the peer can nominate", () => {
    const network = new Network()
    const client = new Side(network, "controlling")
    const gateway = new Side(network, "controlled")
    client.host(clientHost)
    client.hear(gateway.host(gatewayHost))

    network.run(40)

    assert.strictEqual(gateway.path, "192.0.2.2:52625 > 192.0.2.1:1000")
  })

  it("nominates nothing at the controlling side", () => {
    const network = new Network()
    const client = new Side(network, "controlling")
    const gateway = new Side(network, "controlled")
    client.host(clientHost)
    client.hear(gateway.host(gatewayHost), gateway.host(at("192.0.2.3", 1), 1))
    network.run(1_000)
    const before = observe(client, network)
    const message = writeCheck(
      {
        transaction: new Uint8Array(12),
        username: "ling:lled",
        role: "controlling",
        tieBreaker: new Uint8Array(8),
        priority: 1,
        nominate: true
      },
      clientKey
    )

    client.receive(message, clientHost, at("192.0.2.3", 1))

    assert.isTrue(client.used.at(-1))
    assert.deepStrictEqual(observe(client, network), before)
  })
})

describe("an agent", () => {
  it.prop(
    "never throws, whatever the bytes, the addresses and the order",
    [Arbitrary.array(Arbitrary.all([integer(0, 9), integer(0, 3), bytes(40)]), { maxLength: 60 })],
    ([steps]) => {
      const network = new Network()
      const side = new Side(network, "controlled")
      const candidates = [0, 1, 2, 3].map((n) => localCandidate(n < 2 ? "host" : "relay", at(`192.0.2.${n}`, 1000 + n)))
      for (const [step, which, junk] of steps) {
        const candidate = candidates[which]!
        if (step === 0) side.agent.addLocal(candidate, network.now)
        if (step === 1) side.agent.removeLocal(candidate, network.now)
        if (step === 2) side.hear(candidate)
        if (step === 3) side.agent.removeRemote(candidate, network.now)
        if (step === 4) side.receive(check({ id: junk.length }), candidate.address, candidates[3 - which]!.address)
        if (step === 5) side.receive(junk, candidate.address, candidates[3 - which]!.address)
        if (step === 6) network.run(network.now + junk.length * 100)
        if (step === 7) side.agent.activity(network.now)
        if (step === 8) side.agent.handle(parseStun(check())!, candidate.address, stranger, network.now)
        if (step === 9) network.run(network.now + 10)
        assert.isTrue(side.agent.state === "failed" || side.agent.nextDeadline() >= network.now)
      }
      network.run(network.now + 3_600_000)
      assert.isTrue(side.agent.state === "failed")
    }
  )
})
