import { assert, describe, it } from "@effect/vitest"
import { Arbitrary } from "effect"
import { isBareSyn, Sessions, sessionTimeouts } from "../../src/nat/sessions.ts"
import { formatAddress, type Words, words } from "../../src/packet/address.ts"
import { integer } from "../support/packetArbitraries.ts"
import { kindOf, type ModelSession, SessionsModel, used } from "./sessionsModel.ts"
import { addressWords as address } from "../support/packets.ts"

const tcp = 6
const udp = 17
const icmp = 1
const fin = 0x11
const syn = 0x02
const rst = 0x04
const ack = 0x10

const proxy = address("100.96.0.1")
const proxy2 = address("100.96.0.2")
const real = address("10.0.0.1")
const real2 = address("10.0.0.2")

const make = (options: { capacity?: number; perClient?: number } = {}): Sessions =>
  new Sessions({ capacity: 64, perClient: 32, ...options })

const open = (sessions: Sessions, port: number, now = 0, o: Partial<Opening> = {}): number =>
  sessions.insert(
    o.client ?? 1,
    o.protocol ?? tcp,
    port,
    o.destination ?? proxy,
    o.port ?? 443,
    o.real ?? real,
    o.mapping ?? 7,
    o.resource ?? 3,
    now
  )

interface Opening {
  client: number
  protocol: number
  destination: Words
  port: number
  real: Words
  mapping: number
  resource: number
}

const noOther = () => false

const find = (sessions: Sessions, port: number, o: Partial<Opening> = {}): number =>
  sessions.findOutbound(o.client ?? 1, o.protocol ?? tcp, port, o.destination ?? proxy, o.port ?? 443)

describe("a session", () => {
  it("is kept whole in memory that does not begin at byte 0 of its buffers", () => {
    const sessions = new Sessions({
      capacity: 64,
      perClient: 32,
      reserve: (length) => new Int32Array(new ArrayBuffer(length * 4 + 8), 8, length)
    })
    const slots = [50_000, 50_001, 50_002].map((port) => open(sessions, port, port + 0.5))

    assert.deepStrictEqual(
      slots.map((slot) => sessions.firstOutAt(slot)),
      [50_000.5, 50_001.5, 50_002.5]
    )
    sessions.forgetClient(1)
    assert.strictEqual(sessions.size, 0)
  })

  it("is found from both sides and tells what it was made of", () => {
    const sessions = make()
    const slot = open(sessions, 50_000, 5)
    const to = words()
    assert.strictEqual(find(sessions, 50_000), slot)
    assert.strictEqual(sessions.findInbound(1, tcp, 50_000, real, 443), slot)
    sessions.realInto(slot, to)
    assert.deepStrictEqual(to, real)
    sessions.destinationInto(slot, to)
    assert.deepStrictEqual(to, proxy)
    assert.deepStrictEqual(
      [sessions.protocolOf(slot), sessions.insidePort(slot), sessions.outsidePort(slot)],
      [tcp, 50_000, 50_000]
    )
    assert.deepStrictEqual(
      [sessions.mappingOf(slot), sessions.resourceOf(slot), sessions.destinationPort(slot)],
      [7, 3, 443]
    )
    assert.deepStrictEqual(
      [sessions.firstOutAt(slot), sessions.lastOutAt(slot), sessions.lastInAt(slot), sessions.confirmed(slot)],
      [5, 5, -1, false]
    )
  })

  it.each([
    ["another client", { client: 2 }, 50_000],
    ["another protocol", { protocol: udp }, 50_000],
    ["another destination", { destination: proxy2 }, 50_000],
    ["another destination port", { port: 444 }, 50_000],
    ["another source port", {}, 50_001]
  ])("is not found by %s", (_, other: Partial<Opening>, port) => {
    const sessions = make()
    open(sessions, 50_000)
    assert.strictEqual(find(sessions, port, other), -1)
  })

  it("is not found from outside by any other address, port or client", () => {
    const sessions = make()
    open(sessions, 50_000)
    assert.strictEqual(sessions.findInbound(2, tcp, 50_000, real, 443), -1)
    assert.strictEqual(sessions.findInbound(1, udp, 50_000, real, 443), -1)
    assert.strictEqual(sessions.findInbound(1, tcp, 50_001, real, 443), -1)
    assert.strictEqual(sessions.findInbound(1, tcp, 50_000, real2, 443), -1)
    assert.strictEqual(sessions.findInbound(1, tcp, 50_000, real, 442), -1)
    assert.strictEqual(sessions.findInbound(1, tcp, 50_000, proxy, 443), -1)
  })

  it("replaces the one with the same inside", () => {
    const sessions = make()
    open(sessions, 50_000)
    const slot = open(sessions, 50_000, 1, { real: real2 })
    assert.strictEqual(sessions.size, 1)
    assert.strictEqual(sessions.findInbound(1, tcp, 50_000, real, 443), -1)
    assert.strictEqual(sessions.findInbound(1, tcp, 50_000, real2, 443), slot)
  })

  it("keeps exact times after 2^31 and 2^32 milliseconds of uptime", () => {
    for (const start of [2 ** 31 - 500, 2 ** 32 - 500]) {
      const sessions = make()
      const slot = open(sessions, 50_000, start)
      sessions.inbound(slot, ack, start + 400)
      sessions.outbound(slot, ack, start + 1_000)
      assert.deepStrictEqual(
        [sessions.firstOutAt(slot), sessions.lastInAt(slot), sessions.lastOutAt(slot)],
        [start, start + 400, start + 1_000]
      )
      assert.strictEqual(sessions.expire(start + 1_000 + sessionTimeouts.tcp - 1, 10), 0)
      assert.strictEqual(sessions.expire(start + 1_000 + sessionTimeouts.tcp, 10), 1)
    }
  })
})

describe("outside ports", () => {
  it("are the inside port when it is free at the real address and port", () => {
    const sessions = make()
    const a = open(sessions, 50_000)
    const b = open(sessions, 50_000, 0, { destination: proxy2, real: real2 })
    const c = open(sessions, 50_000, 0, { destination: proxy2, port: 80 })
    const d = open(sessions, 50_000, 0, { client: 2 })
    assert.deepStrictEqual(
      [a, b, c, d].map((s) => sessions.outsidePort(s)),
      [50_000, 50_000, 50_000, 50_000]
    )
  })

  it("go up by one when two destinations share a real address", () => {
    const sessions = make()
    open(sessions, 50_000)
    const slot = open(sessions, 50_000, 0, { destination: proxy2 })
    assert.strictEqual(sessions.outsidePort(slot), 50_001)
    assert.strictEqual(sessions.insidePort(slot), 50_000)
    assert.strictEqual(sessions.findInbound(1, tcp, 50_001, real, 443), slot)
  })

  it("wrap from 65535 to 1 and are never 0", () => {
    const sessions = make()
    open(sessions, 65_535)
    assert.strictEqual(sessions.outsidePort(open(sessions, 65_535, 0, { destination: proxy2 })), 1)
    assert.strictEqual(sessions.outsidePort(open(sessions, 0, 0, { protocol: icmp, port: 0 })), 1)
  })

  it("are found without a walk along a full range, and every one can be used", () => {
    const sessions = new Sessions({ capacity: 65_536, perClient: 65_536 })
    for (let n = 0; n < 65_535; n++) {
      const slot = open(sessions, 1 + (n % 4), 0, { destination: words(0, 0, 0xffff, n) })
      assert.isAtLeast(sessions.outsidePort(slot), 1)
    }
    assert.strictEqual(sessions.size, 65_535)
    assert.strictEqual(open(sessions, 9), -1)
    assert.strictEqual(sessions.size, 65_535)
    assert.strictEqual(sessions.evictions, 0)
  })

  it("do not exist for protocols without ports: a second such flow to a real address is refused", () => {
    const sessions = make()
    const slot = open(sessions, 0, 0, { protocol: 47, port: 0 })
    assert.strictEqual(sessions.outsidePort(slot), 0)
    assert.strictEqual(open(sessions, 0, 0, { protocol: 47, port: 0, destination: proxy2 }), -1)
    assert.strictEqual(sessions.size, 1)
  })
})

describe("the end of a session", () => {
  it.each([
    ["unconfirmed", sessionTimeouts.unconfirmed, tcp, () => 0],
    ["UDP", sessionTimeouts.datagram, udp, (s: Sessions, slot: number) => s.inbound(slot, 0, 0)],
    ["ICMP", sessionTimeouts.datagram, icmp, (s: Sessions, slot: number) => s.inbound(slot, 0, 0)],
    ["TCP", sessionTimeouts.tcp, tcp, (s: Sessions, slot: number) => s.inbound(slot, ack, 0)],
    [
      "TCP with one FIN",
      sessionTimeouts.tcp,
      tcp,
      (s: Sessions, slot: number) => {
        s.inbound(slot, fin, 0)
        s.outbound(slot, ack, 0)
      }
    ],
    [
      "TCP with both FINs",
      sessionTimeouts.closed,
      tcp,
      (s: Sessions, slot: number) => {
        s.outbound(slot, fin, 0)
        s.inbound(slot, fin, 0)
      }
    ]
  ] as const)("comes after the time-out: %s", (_, timeout, protocol, use) => {
    const sessions = make()
    const slot = open(sessions, 50_000, 0, { protocol })
    use(sessions, slot)
    assert.strictEqual(sessions.expire(timeout - 1, 10), 0)
    assert.strictEqual(sessions.expire(timeout, 10), 1)
    assert.strictEqual(find(sessions, 50_000, { protocol }), -1)
    assert.strictEqual(sessions.findInbound(1, protocol, 50_000, real, 443), -1)
  })

  it("of an idle TCP connection comes after 2 hours and 4 minutes, not before (RFC 5382, REQ-5)", () => {
    const sessions = make()
    const hours = 3_600_000
    const slot = open(sessions, 50_000)
    sessions.inbound(slot, ack, 0)
    assert.strictEqual(sessions.expire(2 * hours + 239_000, 10), 0)
    assert.strictEqual(sessions.expire(2 * hours + 241_000, 10), 1)
  })

  it("is put off by packets of either direction", () => {
    const sessions = make()
    const slot = open(sessions, 50_000, 0, { protocol: udp })
    sessions.inbound(slot, 0, 100_000)
    sessions.outbound(slot, 0, 200_000)
    assert.strictEqual(sessions.expire(319_999, 10), 0)
    assert.strictEqual(sessions.expire(320_000, 10), 1)
  })

  it("is put off by a server that alone goes on talking, for as long as it does", () => {
    for (const [protocol, timeout] of [
      [udp, sessionTimeouts.datagram],
      [tcp, sessionTimeouts.tcp]
    ] as const) {
      const sessions = make()
      const slot = open(sessions, 50_000, 0, { protocol })
      const every = timeout - 1_000
      for (let packets = 1; packets <= 20; packets++) {
        sessions.inbound(slot, protocol === tcp ? ack : 0, packets * every)
        assert.strictEqual(sessions.expire(packets * every + timeout - 1, 10), 0)
      }
      assert.strictEqual(sessions.expire(20 * every + timeout, 10), 1)
    }
  })

  it("comes at once with a RST, and what is needed to forward the RST can still be read", () => {
    const sessions = make()
    for (const way of ["outbound", "inbound"] as const) {
      const slot = open(sessions, 50_000)
      assert.isFalse(sessions.inbound(slot, ack, 1))
      assert.isTrue(sessions[way](slot, rst | ack, 2))
      assert.strictEqual(sessions.size, 0)
      assert.strictEqual(find(sessions, 50_000), -1)
      assert.strictEqual(sessions.outsidePort(slot), 50_000)
    }
  })

  it("is not brought by bits that look like TCP flags in another protocol", () => {
    const sessions = make()
    const slot = open(sessions, 50_000, 0, { protocol: udp })
    assert.isFalse(sessions.inbound(slot, rst, 1))
    assert.strictEqual(find(sessions, 50_000, { protocol: udp }), slot)
  })

  it("is worked off within the budget", () => {
    const sessions = make()
    for (let port = 1; port <= 10; port++) open(sessions, port)
    assert.strictEqual(sessions.expire(1e6, 4), 4)
    assert.strictEqual(sessions.expire(1e6, 4), 4)
    assert.strictEqual(sessions.expire(1e6, 4), 2)
    assert.strictEqual(sessions.expire(1e6, 4), 0)
  })

  it("comes with its client, its resource or its mapping, and spares the others", () => {
    const fill = () => {
      const sessions = make()
      open(sessions, 1, 0, { mapping: 1, resource: 1 })
      open(sessions, 2, 0, { mapping: 2, resource: 1 })
      open(sessions, 3, 0, { mapping: -1, resource: 2 })
      open(sessions, 1, 0, { client: 2, mapping: 3, resource: 1 })
      sessions.inbound(find(sessions, 2), ack, 1)
      return sessions
    }
    const byClient = fill()
    byClient.forgetClient(1)
    assert.strictEqual(byClient.size, 1)
    assert.notStrictEqual(find(byClient, 1, { client: 2 }), -1)
    const byResource = fill()
    byResource.withdraw(1, 2, noOther)
    assert.deepStrictEqual([byResource.sizeOf(1), byResource.sizeOf(2)], [2, 1])
    const byMapping = fill()
    byMapping.forgetMapping(2)
    assert.strictEqual(find(byMapping, 2), -1)
    assert.deepStrictEqual([byMapping.uses(1), byMapping.uses(2)], [true, false])
    byMapping.forgetMapping(9_999)
    assert.strictEqual(byMapping.size, 3)
  })

  it("is put off for flows of names: unseen by packets until their resource is back, and where they were then", () => {
    const sessions = make()
    const slot = open(sessions, 1, 0, { mapping: 1, resource: 1 })
    open(sessions, 2, 0, { mapping: 1, resource: 1 })
    open(sessions, 3, 0, { mapping: 2, resource: 2 })
    sessions.inbound(slot, ack, 1)
    sessions.withdraw(1, 1, noOther)
    assert.deepStrictEqual(
      [1, 2, 3].map((port) => find(sessions, port) >= 0),
      [false, false, true]
    )
    assert.strictEqual(sessions.findInbound(1, tcp, 1, real, 443), -1)
    sessions.resume(1, 1, (s) => sessions.confirmed(s))
    assert.strictEqual(find(sessions, 1), slot)
    assert.strictEqual(sessions.findInbound(1, tcp, 1, real, 443), slot)
    assert.deepStrictEqual([find(sessions, 2), sessions.uses(1), sessions.lastInAt(slot)], [-1, true, 1])
    sessions.withdraw(1, 1, noOther)
    sessions.forgetMapping(1)
    assert.isFalse(sessions.uses(1))
    sessions.resume(1, 1, () => true)
    assert.deepStrictEqual([find(sessions, 1), sessions.size], [-1, 1])
  })

  it("looks at each session of a client once or twice, also when all of its names end together", () => {
    class Counting extends Sessions {
      looks = 0
      override mappingOf(slot: number): number {
        this.looks++
        return super.mappingOf(slot)
      }
      override suspended(slot: number): boolean {
        this.looks++
        return super.suspended(slot)
      }
    }
    const names = 100
    const sessions = new Counting({ capacity: 1_024, perClient: 1_024 })
    for (let port = 1; port <= 1_000; port++) open(sessions, port, 0, { mapping: port % names, resource: 1 })
    sessions.withdraw(1, 1, noOther)
    for (let mapping = 0; mapping < names; mapping++) sessions.suspendMapping(mapping)
    for (let mapping = 0; mapping < names; mapping++) sessions.forgetMapping(mapping)
    assert.strictEqual(sessions.size, 0)
    assert.isAtMost(sessions.looks, 4_000)
  })

  it("is what a suspended flow comes to when another one took its place", () => {
    const sessions = make()
    open(sessions, 1, 0, { mapping: 1, resource: 1 })
    sessions.withdraw(1, 1, noOther)
    const other = open(sessions, 1, 0, { mapping: 2, resource: 2, destination: proxy2 })
    assert.strictEqual(sessions.outsidePort(other), 1)
    sessions.resume(1, 1, () => true)
    assert.deepStrictEqual([find(sessions, 1), sessions.findInbound(1, tcp, 1, real, 443)], [-1, other])
  })

  it("happens once: removing an ended session again changes nothing", () => {
    const sessions = make()
    const slot = open(sessions, 1)
    open(sessions, 2)
    sessions.remove(slot)
    sessions.remove(slot)
    assert.strictEqual(sessions.size, 1)
    assert.notStrictEqual(open(sessions, 3), open(sessions, 4))
  })
})

describe("bounds", () => {
  it("at a client's bound its own least recently used unconfirmed session goes first, then its least recently used", () => {
    const sessions = make({ perClient: 3 })
    open(sessions, 9, 0, { client: 2 })
    open(sessions, 1, 0)
    open(sessions, 2, 1_000)
    open(sessions, 3, 2_000)
    sessions.inbound(find(sessions, 1), ack, 3_000)
    sessions.inbound(find(sessions, 3), ack, 4_000)
    sessions.outbound(find(sessions, 1), ack, 6_000)
    open(sessions, 4, 7_000)
    assert.deepStrictEqual(
      [1, 2, 3, 4].map((p) => find(sessions, p) >= 0),
      [true, false, true, true]
    )
    sessions.inbound(find(sessions, 4), ack, 8_000)
    open(sessions, 5, 9_000)
    assert.deepStrictEqual(
      [1, 3, 4, 5].map((p) => find(sessions, p) >= 0),
      [true, false, true, true]
    )
    assert.strictEqual(sessions.evictions, 2)
    assert.strictEqual(sessions.sizeOf(2), 1)
  })

  it("at the gateway's bound the least recently used unconfirmed session of anybody goes", () => {
    const sessions = make({ capacity: 3 })
    open(sessions, 1, 0, { client: 1 })
    open(sessions, 1, 1_000, { client: 2 })
    open(sessions, 1, 2_000, { client: 3 })
    sessions.inbound(find(sessions, 1, { client: 1 }), ack, 3_000)
    open(sessions, 1, 4_000, { client: 4 })
    assert.deepStrictEqual(
      [1, 2, 3, 4].map((client) => sessions.sizeOf(client)),
      [1, 0, 1, 1]
    )
    for (const client of [3, 4]) sessions.inbound(find(sessions, 1, { client }), ack, 5_000 * client)
    open(sessions, 1, 30_000, { client: 5 })
    assert.deepStrictEqual(
      [1, 3, 4, 5].map((client) => sessions.sizeOf(client)),
      [0, 1, 1, 1]
    )
    assert.strictEqual(sessions.size, 3)
  })
})

describe("a new start", () => {
  it("is a SYN alone", () => {
    assert.isTrue(isBareSyn(syn))
    assert.isTrue(isBareSyn(syn | 0xc0))
    for (const flags of [syn | ack, syn | 1, syn | rst, ack, 0]) assert.isFalse(isBareSyn(flags))
  })

  it("is allowed on a session that saw a FIN, from either side", () => {
    for (const way of ["outbound", "inbound"] as const) {
      const sessions = make()
      const slot = open(sessions, 1)
      assert.isFalse(sessions.mayRestart(slot, 0, false))
      sessions[way](slot, fin, 0)
      assert.isTrue(sessions.mayRestart(slot, 0, false))
    }
  })

  it("is allowed when the target has changed and nothing has come back for 2 s", () => {
    const sessions = make()
    const slot = open(sessions, 1)
    sessions.inbound(slot, ack, 1_000)
    sessions.outbound(slot, ack, 2_500)
    assert.isFalse(sessions.mayRestart(slot, 2_999, true))
    assert.isTrue(sessions.mayRestart(slot, 3_000, true))
    assert.isFalse(sessions.mayRestart(slot, 1e6, false))
  })

  it("rebinds an unconfirmed session to the new target, on a free port, and no confirmed one", () => {
    const sessions = make()
    open(sessions, 1, 0, { real: real2 })
    const slot = open(sessions, 1, 0, { destination: proxy2 })
    assert.isTrue(sessions.rebind(slot, real2))
    assert.strictEqual(sessions.outsidePort(slot), 2)
    assert.strictEqual(sessions.findInbound(1, tcp, 2, real2, 443), slot)
    assert.strictEqual(sessions.findInbound(1, tcp, 1, real, 443), -1)
    assert.isTrue(sessions.rebind(slot, real2))
    assert.strictEqual(sessions.outsidePort(slot), 2)
    sessions.inbound(slot, ack, 1)
    assert.isFalse(sessions.rebind(slot, real))
    assert.strictEqual(sessions.findInbound(1, tcp, 2, real2, 443), slot)
  })
})

const clients = 3
const ports = [0, 1, 2, 65_534, 65_535]
const destinations = ["100.96.0.1", "100.96.0.2", "fd00:2021:1111:8000::1"]
const reals = ["10.0.0.1", "10.0.0.2", "fd00::1"]
const steps = [0, 1, 499, 999, 1_000, 1_999, 4_999, 5_000, 59_999, 60_000, 61_000, 120_000, 7_440_000]

const operation = Arbitrary.all({
  what: integer(0, 20),
  client: integer(0, clients - 1),
  protocol: integer(0, 3).pipe(Arbitrary.map((n) => [tcp, tcp, udp, icmp][n]!)),
  port: integer(0, ports.length - 1).pipe(Arbitrary.map((n) => ports[n]!)),
  destination: integer(0, destinations.length - 1),
  real: integer(0, reals.length - 1),
  flags: integer(0, 9).pipe(Arbitrary.map((n) => (n < 5 ? ack : n < 8 ? fin : n < 9 ? syn : rst))),
  pick: integer(0, 1_000),
  step: integer(0, steps.length - 1)
})

const operations = integer(1, 120).pipe(
  Arbitrary.flatMap((length) => Arbitrary.array(operation, { minLength: length, maxLength: length }))
)

const look = (sessions: Sessions, s: ModelSession): number =>
  sessions.findOutbound(s.client, s.protocol, s.insidePort, address(s.destination), s.port)

/** Both tables hold the same sessions, and each is found by exactly its two keys. */
const agree = (sessions: Sessions, model: SessionsModel): void => {
  assert.strictEqual(sessions.size, model.sessions.length)
  assert.strictEqual(sessions.evictions, model.evictions)
  const slots = new Set<number>()
  for (const s of model.sessions.filter((each) => each.suspended)) {
    const found = look(sessions, s)
    if (model.inside(s.client, s.protocol, s.insidePort, s.destination, s.port) === undefined)
      assert.strictEqual(found, -1)
  }
  for (const s of model.awake) {
    const slot = look(sessions, s)
    assert.isAtLeast(slot, 0)
    slots.add(slot)
    assert.strictEqual(sessions.findInbound(s.client, s.protocol, s.outsidePort, address(s.real), s.port), slot)
    const to = words()
    sessions.realInto(slot, to)
    assert.strictEqual(formatAddress(to), s.real)
    assert.deepStrictEqual(
      [sessions.outsidePort(slot), sessions.lastOutAt(slot), sessions.lastInAt(slot), sessions.firstOutAt(slot)],
      [s.outsidePort, s.lastOut, s.lastIn, s.firstOut]
    )
  }
  assert.strictEqual(slots.size, model.awake.length)
  for (let client = 0; client < clients; client++) assert.strictEqual(sessions.sizeOf(client), model.sizeOf(client))
}

it.prop(
  "the table behaves as a plain list of sessions does, whatever happens",
  [operations, integer(1, 9), integer(1, 6)],
  ([ops, capacity, perClient]) => {
    const sessions = new Sessions({ capacity, perClient, seed: capacity * 31 + perClient })
    const model = new SessionsModel(capacity, perClient)
    let now = 0
    for (const op of ops) {
      const known = model.awake[op.pick % Math.max(1, model.awake.length)]
      const flags = { fin: (op.flags & 1) !== 0, rst: (op.flags & rst) !== 0 }
      if (op.what < 9) {
        const destination = destinations[op.destination]!
        const port = op.protocol === icmp ? 0 : 443
        const inside = model.inside(op.client, op.protocol, op.port, destination, port)
        if (inside === undefined || op.what === 0) {
          const opening = { client: op.client, protocol: op.protocol, insidePort: op.port, destination, port }
          model.insert({ ...opening, real: reals[op.real]!, mapping: op.destination, resource: op.real, firstOut: now })
          sessions.insert(
            op.client,
            op.protocol,
            op.port,
            address(destination),
            port,
            address(reals[op.real]!),
            op.destination,
            op.real,
            now
          )
        } else {
          assert.strictEqual(
            sessions.outbound(look(sessions, inside), op.flags, now),
            model.note(inside, "out", flags, now)
          )
        }
      } else if (op.what < 14) {
        if (known !== undefined) {
          assert.strictEqual(
            sessions.inbound(look(sessions, known), op.flags, now),
            model.note(known, "in", flags, now)
          )
        }
      } else if (op.what < 17) {
        now += steps[op.step]!
        const gone = model.expire(now)
        assert.strictEqual(sessions.expire(now, 1_000), gone.length)
        for (const s of gone) assert.isAtLeast(now - used(s), sessionTimeouts[kindOf(s)])
        for (const s of model.sessions) assert.isBelow(now - used(s), sessionTimeouts[kindOf(s)] + 1_000)
      } else if (op.what === 17 && known !== undefined) {
        const to = reals[op.real]!
        const free =
          known.real === to
            ? known.outsidePort
            : model.choosePort(known.client, known.protocol, known.insidePort, to, known.port)
        assert.strictEqual(sessions.rebind(look(sessions, known), address(to)), known.lastIn < 0)
        if (known.lastIn < 0) {
          known.outsidePort = free
          known.real = to
        }
      } else if (op.what === 18) {
        const to = (op.real + 1) % reals.length
        model.withdraw(op.client, op.real, (s) => {
          if (s.destination !== destinations[op.destination]) return false
          s.resource = to
          return true
        })
        sessions.withdraw(op.client, op.real, (slot) => {
          if (sessions.mappingOf(slot) !== op.destination) return false
          sessions.move(slot, to)
          return true
        })
      } else if (op.what === 19) {
        model.resume(op.client, op.real, (s) => s.destination !== destinations[op.destination])
        sessions.resume(op.client, op.real, (slot) => sessions.mappingOf(slot) !== op.destination)
      } else if (known !== undefined) {
        const slot = look(sessions, known)
        sessions.remove(slot)
        model.remove(known)
      }
      agree(sessions, model)
    }
  },
  { arbitrary: { runs: 200 } }
)
