import { assert, describe, it } from "@effect/vitest"
import { localCandidate } from "../../src/ice/candidate.ts"
import type { IcePath } from "../../src/ice/candidatePair.ts"
import type { IceAgent, IceAgentOptions } from "../../src/ice/IceAgent.ts"
import { IceAgents } from "../../src/ice/IceAgents.ts"
import { parseStun } from "../../src/ice/stun.ts"
import type { TransportAddress } from "../../src/packet/transportAddress.ts"
import { at } from "./network.ts"

const gatewayHost = at("192.0.2.2", 52_625)
let seed = 1
const options = (
  name: string,
  role: IceAgentOptions["role"],
  more: Partial<IceAgentOptions> = {}
): IceAgentOptions => ({
  role,
  local: { username: role === "controlled" ? "gate" : name, password: `password of ${role} ${name}` },
  remote: {
    username: role === "controlled" ? name : "gate",
    password: `password of ${role === "controlled" ? "controlling" : "controlled"} ${name}`
  },
  tieBreaker: new Uint8Array(8),
  randomBytes: (out) => {
    for (let i = 0; i < out.length; i++) out[i] = (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) >>> 24
  },
  now: 0,
  transmit: () => {},
  nominated: () => {},
  failed: () => {},
  ...more
})

/** Clients with an agent each, at a gateway with all of theirs behind one address; messages arrive 10 ms later. */
const crowd = (size: number) => {
  const gateway = new IceAgents()
  const clients = new IceAgents()
  let now = 0
  let onTheWay: Array<{
    readonly at: number
    readonly from: TransportAddress
    readonly to: TransportAddress
    readonly bytes: Uint8Array
  }> = []
  const lost: Array<Uint8Array> = []
  const counts = { sent: 0, advanced: 0, failed: 0 }
  const transmit = (path: IcePath, bytes: Uint8Array) => {
    counts.sent++
    onTheWay.push({ at: now + 10, from: path.local, to: path.remote, bytes })
  }
  const failed = () => counts.failed++
  const agents: Array<IceAgent> = []
  for (let i = 0; i < size; i++) {
    const name = i.toString(36).padStart(4, "0")
    const address = at(`10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`, 1000)
    const client = clients.create(options(name, "controlling", { transmit, failed }))
    const agent = gateway.create(options(name, "controlled", { transmit, failed }))
    agents.push(agent)
    client.addLocal(localCandidate("host", address), 0)
    client.addRemote(localCandidate("host", gatewayHost), 0)
    agent.addLocal(localCandidate("host", gatewayHost), 0)
    agent.addRemote(localCandidate("host", address), 0)
  }
  const run = (until: number) => {
    for (;;) {
      const next = Math.min(gateway.nextDeadline(), clients.nextDeadline(), onTheWay[0]?.at ?? Number.POSITIVE_INFINITY)
      if (next > until) break
      now = Math.max(now, next)
      const arrived = onTheWay.filter((message) => message.at <= now)
      onTheWay = onTheWay.filter((message) => message.at > now)
      for (const { bytes, from, to } of arrived) {
        const message = parseStun(bytes)!
        const agent = (to.port === gatewayHost.port ? gateway : clients).find(message)
        if (agent === undefined) lost.push(bytes)
        agent?.handle(message, to, from, now)
      }
      gateway.advance(now)
      clients.advance(now)
    }
    now = until
  }
  return { gateway, clients, agents, run, lost, counts, now: () => now }
}

describe("agents behind one socket", () => {
  it("get their own requests and answers, and are advanced on time", () => {
    const { agents, counts, lost, run } = crowd(100)

    run(60)

    assert.isTrue(agents.every((agent) => agent.state === "connected"))
    assert.isEmpty(lost)
    run(600_000)
    assert.isTrue(agents.every((agent) => agent.state === "connected"))
    assert.strictEqual(counts.failed, 0)
  })

  it("are not found any more once removed, nor is another found for their messages", () => {
    const { agents, clients, gateway, lost, run } = crowd(3)
    run(1_000)
    const deadline = gateway.nextDeadline()
    assert.isAbove(deadline, 1_000)

    gateway.remove(agents[1]!)
    gateway.remove(agents[1]!)
    // In its slot, but with other transactions.
    gateway.create(options("new", "controlled"))
    run(5_000)

    assert.strictEqual(gateway.size, 3)
    assert.isNotEmpty(lost)
    assert.isTrue(lost.every((bytes) => parseStun(bytes)!.class === "request"))
    assert.strictEqual(clients.size, 3)
    assert.strictEqual(agents[0]!.state, "connected")
    assert.strictEqual(agents[2]!.state, "connected")
  })

  it("may be removed when they tell that they failed", () => {
    const gateway = new IceAgents()
    const failures: Array<string> = []
    const agents: Array<IceAgent> = []
    for (const name of ["a", "b", "c"]) {
      const agent = gateway.create(
        options(name, "controlled", {
          failed: (reason) => {
            failures.push(`${name} ${reason}`)
            gateway.remove(agent)
            if (name === "a") gateway.create(options("d", "controlled", { now: 10_000 }))
          }
        })
      )
      agents.push(agent)
    }

    gateway.advance(9_999)
    assert.isEmpty(failures)
    gateway.advance(10_000)

    assert.deepStrictEqual(failures.toSorted(), ["a NoCandidates", "b NoCandidates", "c NoCandidates"])
    assert.strictEqual(gateway.size, 1)
    assert.strictEqual(gateway.nextDeadline(), 20_000)
  })

  it("may be removed while they are advanced, and are not advanced again", () => {
    const agents = new IceAgents()
    const agent: IceAgent = agents.create(options("x", "controlling", { transmit: () => agents.remove(agent) }))
    agent.addLocal(localCandidate("host", at("10.0.0.1", 1)), 0)
    agent.addRemote(localCandidate("host", gatewayHost), 0)
    assert.strictEqual(agents.nextDeadline(), 0)

    agents.advance(0)

    assert.strictEqual(agents.nextDeadline(), Number.POSITIVE_INFINITY)
  })

  it("with nobody there: nothing is due and nothing is found", () => {
    const gateway = new IceAgents()
    const message = parseStun(crowdMessage())!

    gateway.advance(1_000_000)

    assert.strictEqual(gateway.nextDeadline(), Number.POSITIVE_INFINITY)
    assert.isUndefined(gateway.find(message))
  })

  it("that idle send a check each in 25 s and leave the rest of the time to others", () => {
    const { agents, counts, run } = crowd(1_000)
    run(120_000)
    assert.isTrue(agents.every((agent) => agent.state === "connected"))
    counts.sent = 0

    run(180_000)

    // Of each in a minute: 2.4 checks of the gateway and 1 of the client, and their answers.
    assert.isAtMost(counts.sent, 1_000 * 8)
    assert.isAtLeast(counts.sent, 1_000 * 4)
  })
})

const crowdMessage = (): Uint8Array => {
  const sent: Array<Uint8Array> = []
  const agents = new IceAgents()
  const agent = agents.create(options("x", "controlling", { transmit: (_, bytes) => sent.push(bytes) }))
  agent.addLocal(localCandidate("host", at("10.0.0.1", 1)), 0)
  agent.addRemote(localCandidate("host", gatewayHost), 0)
  agents.advance(0)
  return sent[0]!
}
