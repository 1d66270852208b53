/** Whom a gateway calls by itself: who sends in a session that it does not know, and whom it is told to take over. */
import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import type { Command, KnownEndpoint } from "../../src/dataplane/commands.ts"
import { DesiredState } from "../../src/dataplane/DesiredState.ts"
import type { Notice } from "../../src/dataplane/notices.ts"
import { formatAddress, parseAddress } from "../../src/packet/address.ts"
import { copyEndpoint, type Endpoint, makeEndpoint } from "../../src/packet/endpoint.ts"
import { millisOf, tickOf } from "../../src/wireguard/tai64n.ts"
import { loneEngine } from "../support/engineLives.ts"
import {
  clientId,
  gateway4,
  key,
  makeClient,
  policy,
  primitives,
  tunnel4,
  upsertClient
} from "../support/engineWorld.ts"
import type { MemoryClient } from "../support/memoryClient.ts"
import { buildUdp } from "../support/packets.ts"

interface Sent {
  readonly at: number
  readonly to: Endpoint
  readonly bytes: Uint8Array
}

/** Time goes by for all gateways and clients of a test together. */
const makeSite = () => {
  const clients: Array<MemoryClient> = []
  let now = 60_000
  /** Whether what gateways send arrives. */
  let reachable = true

  const makeGateway = () => {
    const desired = new DesiredState()
    const sent: Array<Sent> = []
    const start = () =>
      loneEngine((bytes, to) => {
        const copy = makeEndpoint()
        copyEndpoint(to, copy)
        sent.push({ at: now, to: copy, bytes })
        if (!reachable) return
        for (const client of clients) if (client.endpoint.port === to.port) client.deliver(bytes)
      })
    let { engine, io } = start()
    const notices: Array<Notice> = []
    const settle = (): void => {
      while (engine.turn(now, now) || !io.isIdle()) {
        // Until nothing waits.
      }
      for (const notice of engine.takeNotices()) {
        notices.push(notice)
        if (notice._tag === "ClientState") desired.observe(notice)
      }
    }
    const tell = (...commands: ReadonlyArray<Command>): void => {
      for (const command of commands) for (const order of desired.apply(command)) engine.execute(order, now, now)
      settle()
    }
    const arrive = (from: Readonly<Endpoint>, ...datagrams: ReadonlyArray<Uint8Array>): void => {
      for (const datagram of datagrams) io.arrive(from, datagram)
      settle()
    }
    tell(policy)
    return {
      desired,
      sent,
      notices,
      settle,
      tell,
      arrive,
      /** The kernel has a packet of our own for client `n`. */
      routeIn: (n: number): void => {
        io.routeIn(buildUdp({ source: gateway4, destination: tunnel4(n), sourcePort: 53, destinationPort: 5_353 }))
        settle()
      },
      /** Another worker in the place of this one. */
      replace: (): void => {
        ;({ engine, io } = start())
        desired.disconnect()
        for (const order of desired.replay(now)) engine.execute(order, now, now)
        settle()
      },
      /** Initiations since the last call. */
      calls: (): ReadonlyArray<Sent> => sent.splice(0).filter(({ bytes }) => bytes[0] === 1)
    }
  }
  type Gateway = ReturnType<typeof makeGateway>
  const gateways: Array<Gateway> = []

  /** What clients have to say arrives at the gateway. */
  const deliver = (gateway: Gateway): void => {
    for (let busy = true; busy;) {
      busy = false
      for (const client of clients) {
        for (const datagram of client.outbox.splice(0)) {
          busy = true
          gateway.arrive(client.endpoint, datagram)
        }
      }
    }
  }

  return {
    gateway: (): Gateway => {
      const gateway = makeGateway()
      gateways.push(gateway)
      return gateway
    },
    client: (n: number): MemoryClient => {
      const client = makeClient(n)
      client.now = now
      Object.assign(client.endpoint.local, parseAddress("192.0.2.7"))
      clients.push(client)
      return client
    },
    connect: (client: MemoryClient, gateway: Gateway): void => {
      client.wireguard.initiate(client.peer, now, now)
      deliver(gateway)
      client.seal(packet)
      deliver(gateway)
    },
    /** An inner packet of the client, sealed as it can, to the gateway that its packets lead to. */
    send: (client: MemoryClient, gateway: Gateway): void => {
      client.seal(packet)
      deliver(gateway)
    },
    deliver,
    reach: (is: boolean): void => void (reachable = is),
    pass: (milliseconds: number): void => {
      const end = now + milliseconds
      while (now < end) {
        now = Math.min(now + 100, end)
        for (const client of clients) client.now = now
        for (const gateway of gateways) gateway.settle()
      }
    },
    get now() {
      return now
    }
  }
}

const packet = buildUdp({ source: tunnel4(1), destination: gateway4, sourcePort: 5_353, destinationPort: 53 })

/** Of a session that nobody knows. */
const junk = (length: number): Uint8Array => {
  const bytes = new Uint8Array(length)
  bytes.set([4, 0, 0, 0, 9, 9, 9, 9])
  return bytes
}

/** Bytes of a call that is answered: the initiation, and the packet that confirms the session. */
const callBytes = 148 + 32

const knownAs = (n: number, over: Partial<KnownEndpoint> = {}): KnownEndpoint => ({
  client: clientId(n),
  endpoint: { address: "192.0.2.2", port: 40_000 + n },
  local: "192.0.2.7",
  lastTai64n: null,
  sentTick: 0,
  ...over
})

const told = (clients: ReadonlyArray<KnownEndpoint>, call = false): Command => ({
  _tag: "SetKnownEndpoints",
  clients,
  call
})

const fromOf = (calls: ReadonlyArray<Sent>) => calls.map(({ to }) => `${formatAddress(to.local)} > ${to.port}`)

/** A gateway that was told of client 1, which has a session with another gateway. */
const standby = () => {
  const site = makeSite()
  const [other, gateway] = [site.gateway(), site.gateway()]
  const client = site.client(1)
  for (const each of [other, gateway]) each.tell(upsertClient(1))
  site.connect(client, other)
  gateway.tell(told([knownAs(1)]))
  site.pass(10_000)
  gateway.calls()
  return { site, other, gateway, client }
}

describe("a client that sends in a session that the gateway does not know", () => {
  it("is called at once, from the address that it sends to, and is back with one packet", () => {
    const { client, gateway, site } = standby()
    Object.assign(client.endpoint.local, parseAddress("192.0.2.77"))
    site.send(client, gateway)
    assert.deepStrictEqual(fromOf(gateway.calls()), ["192.0.2.77 > 40001"])
    site.send(client, gateway)
    assert.deepInclude(
      gateway.notices.findLast(({ _tag }) => _tag === "ClientState"),
      {
        connected: true,
        local: "192.0.2.77"
      }
    )
  })

  it("is not called by a gateway that was only told of it, before it sends", () => {
    const { gateway, site } = standby()
    site.pass(60_000)
    gateway.replace()
    site.pass(60_000)
    assert.lengthOf(gateway.calls(), 0)
  })

  it("is known by where it went while it was here, to the next worker as well", () => {
    const { client, gateway, site } = standby()
    site.send(client, gateway)
    client.endpoint.port = 40_009
    site.send(client, gateway)
    site.pass(170_000)
    // Longer ago than what a new worker calls by itself.
    site.pass(20_000)
    gateway.calls()
    gateway.replace()
    site.pass(5_000)
    assert.lengthOf(gateway.calls(), 0)
    gateway.arrive(client.endpoint, junk(128))
    assert.deepStrictEqual(fromOf(gateway.calls()), ["192.0.2.7 > 40009"])
  })

  it("is looked for where it was told of last, nowhere else", () => {
    const { client, gateway } = standby()
    gateway.tell(told([knownAs(1, { endpoint: { address: "198.51.100.9", port: 7 } })]))
    gateway.arrive(client.endpoint, junk(512))
    assert.lengthOf(gateway.calls(), 0)
    gateway.arrive({ ...client.endpoint, remote: parseAddress("198.51.100.9")!, port: 7 }, junk(128))
    assert.deepStrictEqual(fromOf(gateway.calls()), ["192.0.2.7 > 7"])
  })

  it("is known still when all who were to be called at the start have been", () => {
    const site = makeSite()
    const gateway = site.gateway()
    const endpoint = { address: "192.0.2.2", port: 40_001 }
    gateway.tell({ ...upsertClient(1), endpoint, initiate: true })
    site.pass(100_000)
    gateway.calls()
    gateway.arrive(makeClient(1).endpoint, junk(128))
    assert.lengthOf(gateway.calls(), 1)
  })

  it("is called once: nothing is repeated unless it sends again, or somebody sends to it", () => {
    const { client, gateway, site } = standby()
    site.reach(false)
    site.send(client, gateway)
    assert.lengthOf(gateway.calls(), 1)
    site.pass(100_000)
    assert.lengthOf(gateway.calls(), 0)
    gateway.arrive(client.endpoint, junk(512))
    gateway.routeIn(1)
    site.pass(20_000)
    assert.isAtLeast(gateway.calls().length, 3)
  })

  it("is not called while it was heard in a session of ours just now, but may be when it has been silent", () => {
    const { client, gateway, other, site } = standby()
    site.send(client, gateway)
    site.send(client, gateway)
    site.pass(2_000)
    gateway.calls()
    gateway.arrive(client.endpoint, junk(512))
    assert.lengthOf(gateway.calls(), 0)
    // Over to the other one, and back again.
    site.send(client, other)
    site.pass(6_000)
    other.arrive(client.endpoint, junk(512))
    site.send(client, other)
    site.pass(6_000)
    gateway.calls()
    site.send(client, gateway)
    assert.lengthOf(gateway.calls(), 1)
    site.send(client, gateway)
    gateway.routeIn(1)
    assert.isNotEmpty(client.received)
  })

  for (const [how, call] of [
    ["when it sends", false],
    ["by order", true]
  ] as const) {
    it(`is called ${how} though it was heard here just now, if another gateway has had it since`, () => {
      const { client, gateway, other, site } = standby()
      site.connect(client, gateway)
      site.pass(2_000)
      site.connect(client, other)
      gateway.calls()

      gateway.tell(told([knownAs(1, { sentTick: tickOf(site.now) + 100 })], call))
      if (!call) gateway.arrive(client.endpoint, junk(128))
      site.pass(100)

      assert.lengthOf(gateway.calls(), 1)
      // It is back.
      site.send(client, gateway)
      gateway.arrive(client.endpoint, junk(512))
      assert.lengthOf(gateway.calls(), 0)
    })
  }

  it("is known by where it went while it was here, when it comes back from another gateway", () => {
    const { client, gateway, site } = standby()
    site.send(client, gateway)
    client.endpoint.port = 40_009
    site.send(client, gateway)
    site.pass(6_000)
    gateway.calls()
    gateway.arrive(client.endpoint, junk(128))
    assert.deepStrictEqual(fromOf(gateway.calls()), ["192.0.2.7 > 40009"])
  })

  it("is at the other gateway for the next worker too, if it was told so after it had been here", () => {
    const { client, gateway, site } = standby()
    site.send(client, gateway)
    const sentTick = tickOf(site.now) + 100
    gateway.tell(told([knownAs(1, { endpoint: { address: "192.0.2.2", port: 40_009 }, sentTick })]))
    gateway.calls()
    gateway.replace()
    site.pass(5_000)
    assert.lengthOf(gateway.calls(), 0)
    client.endpoint.port = 40_009
    gateway.arrive(client.endpoint, junk(128))
    assert.lengthOf(gateway.calls(), 1)
  })

  it("is not called again while the answer to a call by order may be under way", () => {
    const { client, gateway, site } = standby()
    site.reach(false)
    gateway.tell(told([knownAs(1)], true))
    site.pass(100)
    assert.lengthOf(gateway.calls(), 1)
    gateway.arrive(client.endpoint, junk(128))
    assert.lengthOf(gateway.calls(), 0)
    site.pass(200)
    gateway.arrive(client.endpoint, junk(128))
    assert.lengthOf(gateway.calls(), 1)
  })

  it("keeps what leads to it, whatever address of ours a forger sends to", () => {
    const { client, gateway, site } = standby()
    const forged = makeEndpoint()
    copyEndpoint(client.endpoint, forged)
    Object.assign(forged.local, parseAddress("192.0.2.99"))
    site.reach(false)
    gateway.arrive(forged, junk(128))
    site.pass(10_000)
    gateway.calls()
    gateway.routeIn(1)
    assert.deepStrictEqual(fromOf(gateway.calls()), ["192.0.2.7 > 40001"])
  })

  /** Which of 24 keepalives, 5 s apart, are answered by calls that nobody gets. */
  const answeredKeepalives = ({ client, gateway, site }: ReturnType<typeof standby>, before = () => {}) => {
    site.reach(false)
    gateway.calls()
    const answered: Array<number> = []
    for (let n = 1; n <= 24; n++) {
      site.pass(5_000)
      before()
      gateway.arrive(client.endpoint, junk(32))
      if (gateway.calls().length > 0) answered.push(n)
    }
    return answered
  }

  it("is called for a 32-byte keepalive once, and again when it has sent as much as a call is long", () => {
    assert.deepStrictEqual(answeredKeepalives(standby()), [1, 7, 13, 19])
  })

  it("is not called more often for all that it had sent before", () => {
    const world = standby()
    for (let i = 0; i < 100; i++) world.site.send(world.client, world.gateway)
    assert.deepStrictEqual(answeredKeepalives(world), [1, 7, 13, 19])
  })

  it("is not called more often for being told of again and again", () => {
    const world = standby()
    const again = () => world.gateway.tell(told([knownAs(1)]))
    assert.deepStrictEqual(answeredKeepalives(world, again), [1, 7, 13, 19])
  })

  it("is not called for an answer to what the gateway has given up", () => {
    const { client, gateway } = standby()
    const late = junk(92)
    late[0] = 2
    gateway.arrive(client.endpoint, late)
    assert.lengthOf(gateway.calls(), 0)
  })

  it("behind an endpoint of a client that has lost its key to another one is called at once", () => {
    const { client, gateway } = standby()
    gateway.tell({ ...upsertClient(2) }, told([knownAs(2, { endpoint: { address: "192.0.2.2", port: 40_001 } })]))
    gateway.tell({ ...upsertClient(3), publicKey: upsertClient(2).publicKey })
    gateway.arrive(client.endpoint, junk(128))
    assert.lengthOf(gateway.calls(), 1)
  })

  it("behind an endpoint that another client had before is told apart by who answers", () => {
    const { client, gateway, site } = standby()
    gateway.tell({ ...upsertClient(2) }, told([knownAs(2, { endpoint: { address: "192.0.2.2", port: 40_001 } })]))
    site.send(client, gateway)
    site.send(client, gateway)
    assert.lengthOf(gateway.calls(), 2)
    site.send(client, gateway)
    gateway.routeIn(1)
    assert.lengthOf(client.received, 1)
    // The endpoint is this one's now: nobody else is looked for there.
    gateway.calls()
    site.pass(2_000)
    gateway.arrive(client.endpoint, junk(512), junk(512))
    assert.lengthOf(gateway.calls(), 0)
  })

  const Datagram = Schema.Struct({
    n: Schema.Literals([1, 2, 3, 4]),
    length: Schema.Literals([32, 48, 96, 128, 148, 180, 1_400]),
    waitMs: Schema.Literals([0, 1, 300, 1_000, 6_000]),
    reachable: Schema.Boolean
  })
  it.prop(
    "gets no more bytes than came from its endpoint, beyond one call, and no two calls within a second, under any flood",
    [Schema.Array(Datagram)],
    ([flood]) => {
      const site = makeSite()
      const gateway = site.gateway()
      // 4 is somebody whom nobody knows; 2 and 3 are behind one endpoint.
      const clients = [1, 2, 3].map((n) => site.client(n))
      clients[2]!.endpoint.port = 40_002
      for (const n of [1, 2, 3]) gateway.tell(upsertClient(n))
      gateway.tell(
        told(
          [1, 2, 3].map((n) => knownAs(n, { endpoint: { address: "192.0.2.2", port: clients[n - 1]!.endpoint.port } }))
        )
      )
      const received = new Map<number, number>()
      const count = (port: number, bytes: number) => received.set(port, (received.get(port) ?? 0) + bytes)
      for (const { length, n, reachable, waitMs } of flood) {
        site.reach(reachable)
        site.pass(waitMs)
        const from = n === 4 ? makeClient(9).endpoint : clients[n - 1]!.endpoint
        gateway.arrive(from, junk(length))
        count(from.port, length)
        for (const client of clients) {
          for (const { length: answer } of client.outbox) count(client.endpoint.port, answer)
        }
        site.deliver(gateway)
      }
      for (const [port, heads] of [
        [40_001, 1],
        [40_002, 2],
        [40_009, 0]
      ] as const) {
        const there = gateway.sent.filter(({ to }) => to.port === port)
        const bytes = there.reduce((sum, each) => sum + each.bytes.length, 0)
        assert.isAtMost(bytes, (received.get(port) ?? 0) + heads * callBytes)
        if (heads === 0) assert.lengthOf(there, 0)
        const times = there.filter(({ bytes: [type] }) => type === 1).map(({ at }) => at)
        for (const [i, at] of times.entries())
          if (i >= heads && heads > 0) assert.isAtLeast(at - times[i - heads]!, 1_000)
      }
    },
    { arbitrary: { runs: 100, size: 40 }, timeout: 60_000 }
  )
})

describe("clients whose gateway is gone", () => {
  const crowd = (count: number) => {
    const site = makeSite()
    const gateway = site.gateway()
    const upserts = Array.from({ length: count }, (_, i): Command => ({
      ...upsertClient(1),
      client: clientId(100 + i),
      publicKey: Buffer.from(primitives.x25519(numbered(i)).publicKey).toString("base64"),
      tunnel4: `100.65.${i >> 8}.${i & 255}`,
      tunnel6: `fd00:2021:1111::2:${i.toString(16)}`
    }))
    gateway.tell(...upserts)
    const known = upserts.map((_, i) => knownAs(100 + i, { endpoint: { address: "192.0.2.9", port: 1_000 + i } }))
    const takeOver = () => {
      for (let i = 0; i < count; i += 500) gateway.tell(told(known.slice(i, i + 500), true))
    }
    return { site, gateway, known, takeOver }
  }

  it("are called in the order in which they are told, 2,000 a second at most", () => {
    const { gateway, known, site, takeOver } = crowd(3_000)
    takeOver()
    const began = site.now
    site.pass(3_000)
    const calls = gateway.calls()
    const first = calls.slice(0, 3_000)
    assert.deepStrictEqual(
      first.map(({ to }) => to.port),
      known.map(({ endpoint }) => endpoint.port)
    )
    assert.isAtMost(calls.filter(({ at }) => at < began + 1_000).length, 2_000)
    assert.isAtMost(first.at(-1)!.at - began, 1_500)
    assert.isTrue(first.every(({ to }) => formatAddress(to.local) === "192.0.2.7"))
  })

  it("are called at once if they send, 2,000 a second at most", () => {
    const { gateway, known, site } = crowd(2_500)
    gateway.tell(...[0, 500, 1_000, 1_500, 2_000].map((i) => told(known.slice(i, i + 500))))
    const all = (): number => {
      for (const { endpoint } of known) {
        const from = makeEndpoint()
        Object.assign(from.remote, parseAddress(endpoint.address))
        from.port = endpoint.port
        gateway.arrive(from, junk(32))
      }
      return gateway.calls().length
    }
    assert.strictEqual(all(), 2_000)
    assert.strictEqual(all(), 0)
    site.pass(1_000)
    assert.strictEqual(all(), 500)
  })

  it("are called by the next worker too, unless they are said to be elsewhere", () => {
    const { gateway, known, site, takeOver } = crowd(300)
    takeOver()
    gateway.tell(told(known.slice(0, 250)))
    gateway.calls()
    gateway.replace()
    site.pass(4_000)
    assert.deepStrictEqual(
      gateway
        .calls()
        .map(({ to }) => to.port)
        .toSorted((a, b) => a - b),
      known.slice(250).map(({ endpoint }) => endpoint.port)
    )
  })

  it("are not called when they are here by then, or at another gateway", () => {
    const { gateway, known, site, takeOver } = crowd(600)
    const client = site.client(1)
    gateway.tell(upsertClient(1))
    site.connect(client, gateway)
    gateway.calls()
    takeOver()
    gateway.tell(told([knownAs(1, { sentTick: tickOf(site.now) + 100 })], true), told(known.slice(400, 500)))
    site.pass(2_000)
    const ports = gateway.calls().map(({ to }) => to.port)
    assert.lengthOf(ports, 500)
    assert.notInclude(ports, client.endpoint.port)
    assert.notInclude(ports, 1_450)
  })

  it("are called with a later time than they had from any gateway, whatever the clock says", () => {
    const { client, gateway, site } = standby()
    const ahead = tickOf(site.now) + 1_000_000
    gateway.tell(told([knownAs(1, { sentTick: ahead })], true))
    assert.lengthOf(gateway.calls(), 1)
    const stamp = millisOf(client.peer.latestTai64n)
    assert.isAtLeast(stamp, site.now + 1_000_000 * 16)
  })
})

/** A private key. */
const numbered = (i: number): Uint8Array => {
  const bytes = key(3)
  new DataView(bytes.buffer).setUint32(4, i)
  return bytes
}
