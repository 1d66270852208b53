/** Two gateways of a site in memory, of which one has the address that client 1 dials. Time goes by for all together. */
import type { Command } from "../../src/dataplane/commands.ts"
import { DesiredState } from "../../src/dataplane/DesiredState.ts"

import { type Endpoint, makeEndpoint } from "../../src/packet/endpoint.ts"
import { formatAddress, parseAddress } from "../../src/packet/address.ts"
import { loneEngine } from "./engineLives.ts"
import { addresses, clientId, makeClient, mappingId, nameCommands, policy, upsertClient } from "./engineWorld.ts"

const virtual = "198.51.100.1"
const port = 51_820
const own = ["10.0.0.1", "10.0.0.2"] as const

interface Frame {
  readonly from: number
  readonly bytes: Uint8Array
}

export const makeTwoGateways = (keys: ReadonlyArray<Uint8Array | undefined> = []) => {
  let now = 60_000
  /** Which of them has the virtual address. */
  let owner = 0
  /** Whether the client gets calls. */
  let called = true
  const client = makeClient(1)
  client.now = now
  Object.assign(client.endpoint.local, parseAddress(virtual))
  /** Between the gateways. */
  const frames: Array<Frame> = []
  /** Datagrams for the client whose sender has not the address. */
  const lost: Array<number> = []

  const makeGateway = (no: 0 | 1) => {
    const desired = new DesiredState()
    const packets: Array<Uint8Array> = []
    let counters: Readonly<Record<string, number>> = {}
    const { engine, io, readCounters } = loneEngine(
      (bytes, to) => {
        if (formatAddress(to.remote) === own[1 - no]) return void frames.push({ from: no, bytes })
        if (formatAddress(to.local) !== virtual || owner !== no) return void lost.push(no)
        if (bytes[0] !== 1 || called) client.deliver(bytes)
      },
      (packet) => void packets.push(packet),
      keys[no]
    )
    const settle = (): void => {
      while (engine.turn(now, now) || !io.isIdle()) {
        // Until nothing waits.
      }
      for (const notice of engine.takeNotices()) if (notice._tag === "ClientState") desired.observe(notice)
      counters = readCounters()
    }
    const arrive = (from: Readonly<Endpoint>, ...datagrams: ReadonlyArray<Uint8Array>): void => {
      for (const bytes of datagrams) io.arrive(from, bytes)
      settle()
    }
    return {
      settle,
      arrive,
      /** Datagrams from the other gateway. */
      hear: (...datagrams: ReadonlyArray<Uint8Array>): void => arrive(endpointOf(own[1 - no]!), ...datagrams),
      tell: (...commands: ReadonlyArray<Command>): void => {
        for (const command of commands) for (const order of desired.apply(command)) engine.execute(order, now, now)
        settle()
      },
      /** From the network. */
      routeIn: (...packets: ReadonlyArray<Uint8Array>): void => {
        for (const packet of packets) io.routeIn(packet)
        settle()
      },
      /** To the network, since the last call. */
      forwarded: (): ReadonlyArray<Uint8Array> => packets.splice(0),
      count: (name: string): number => counters[name]!
    }
  }
  const gateways = [makeGateway(0), makeGateway(1)] as const

  /** All that is under way arrives. */
  const deliver = (): void => {
    while (client.outbox.length > 0 || frames.length > 0) {
      for (const datagram of client.outbox.splice(0)) gateways[owner]!.arrive(client.endpoint, datagram)
      for (const { bytes, from } of frames.splice(0)) gateways[1 - from]!.hear(bytes)
    }
  }
  const siblings = (draining: number | null): void => {
    for (const no of [0, 1] as const) {
      const sibling = { gateway: 1 - no, epoch: 1, address: own[1 - no]!, port, draining: draining === 1 - no }
      gateways[no].tell({ _tag: "SetSiblings", gateway: no, draining: draining === no, siblings: [sibling] })
    }
    deliver()
  }

  for (const gateway of gateways) {
    gateway.tell(policy, upsertClient(1), ...nameCommands(clientId(1), mappingId(1, "app.corp")))
    gateway.tell(addresses(1, 1, "Resolved", ["10.20.0.10"]))
  }
  client.wireguard.initiate(client.peer, now, now)
  deliver()
  gateways[1].tell({
    _tag: "SetKnownEndpoints",
    call: false,
    clients: [
      {
        client: clientId(1),
        endpoint: { address: "192.0.2.2", port: client.endpoint.port },
        local: virtual,
        lastTai64n: null,
        sentTick: 0
      }
    ]
  })
  return {
    gateways,
    client,
    frames,
    lost,
    /** The gateway gives its clients away; `null`: none does. */
    drain: siblings,
    moveAddress: (to: 0 | 1): void => void (owner = to),
    call: (is: boolean): void => void (called = is),
    send: (packet: Uint8Array): void => {
      client.seal(packet)
      deliver()
    },
    deliver,
    /** The client makes a new session. */
    rekey: (): void => {
      client.wireguard.initiate(client.peer, now, now)
      deliver()
    },
    pass: (milliseconds: number): void => {
      for (const end = now + milliseconds; now < end;) {
        now = Math.min(now + 100, end)
        client.now = now
        for (const gateway of gateways) gateway.settle()
        deliver()
      }
    }
  }
}

const endpointOf = (address: string): Endpoint => {
  const endpoint = makeEndpoint()
  Object.assign(endpoint.remote, parseAddress(address))
  endpoint.port = port
  return endpoint
}
