/** What an engine keeps of clients that are gone: nothing, whatever they did. */
import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import type { Command } from "../../src/dataplane/commands.ts"
import { DesiredState } from "../../src/dataplane/DesiredState.ts"
import { network } from "../support/engineSteps.ts"
import { contested, loneEngine } from "../support/engineLives.ts"
import {
  addresses,
  clientId,
  gateway4,
  makeClient,
  mappingId,
  nameCommands,
  packetsAt,
  policy,
  proxy4,
  tunnel4,
  tunnel6,
  upsertClient
} from "../support/engineWorld.ts"
import { keptIn } from "../support/keptIn.ts"
import { buildEcho, buildFragment, buildTcp, buildUdp, controlPacket, dataOf } from "../support/packets.ts"

const syn = 0x02

/** Packets of client `n` that leave something in every table there is. */
const packetsOf = (n: number): ReadonlyArray<Uint8Array> => {
  const source = tunnel4(n)
  const ports = { sourcePort: 50_000, destinationPort: 443 }
  return [
    ...[proxy4, "100.96.0.5", "100.96.0.9", "10.20.0.77", "198.51.100.1", "100.96.7.7"].flatMap((destination) => [
      buildTcp({ source, destination, ...ports, flags: syn }),
      buildUdp({ source, destination, ...ports })
    ]),
    buildEcho({ source, destination: gateway4, identifier: 7, sequence: 1 }),
    ...buildFragment({
      source,
      destination: "10.20.0.77",
      protocol: 17,
      data: dataOf(buildUdp({ source, destination: "10.20.0.77", ...ports, payload: new Uint8Array(120) })),
      size: 64,
      identification: 9
    }).slice(0, 1),
    buildTcp({ source: tunnel6(n), destination: "fd5a:20::10", ...ports, flags: syn }),
    controlPacket(7)
  ]
}

const answersTo = (n: number): ReadonlyArray<Uint8Array> =>
  ["10.20.0.10", "10.20.0.11", "10.20.0.77"].map((source) =>
    buildUdp({ source, destination: tunnel4(n), sourcePort: 443, destinationPort: 50_000 })
  )

const steps = [...contested.keys(), "call 1", "call 2", "send 1", "send 2", "answer 1", "answer 2", "wait"] as const
const Lives = Schema.Array(Schema.Literals(steps))

/** An engine under commands and packets. */
const makeLife = () => {
  const clients = [1, 2].map(makeClient)
  const { engine, io } = loneEngine((datagram) => clients.forEach((client) => client.deliver(datagram)))
  const desired = new DesiredState()
  let now = 60_000
  const settle = (): void => {
    for (const client of clients) {
      client.now = now
      for (const datagram of client.outbox.splice(0)) io.arrive(client.endpoint, datagram)
    }
    while (engine.turn(now, now) || !io.isIdle()) {
      // Until nothing waits.
    }
    engine.takeNotices()
  }
  const tell = (command: Command): void => {
    for (const order of desired.apply(command)) engine.execute(order, now, now)
    settle()
  }
  const pass = (milliseconds: number): void => {
    now += milliseconds
    settle()
  }
  const step = (what: (typeof steps)[number]): void => {
    if (typeof what === "number") return tell(contested[what]!)
    const n = Number(what.at(-1))
    const client = clients[n - 1]
    if (what === "wait") pass(3_000)
    else if (what.startsWith("call")) client!.wireguard.initiate(client!.peer, now, now)
    else if (what.startsWith("send")) for (const packet of packetsOf(n)) client!.seal(packet)
    else for (const packet of answersTo(n)) io.routeIn(packet)
    settle()
    settle()
  }
  return { engine, pass, step, tell }
}

/** Two clients with sessions, names and networks. */
const begin = ({ step, tell }: ReturnType<typeof makeLife>): void => {
  tell(policy)
  for (const n of [1, 2]) {
    tell(upsertClient(n))
    step(n === 1 ? "call 1" : "call 2")
    for (const command of nameCommands(clientId(n), mappingId(n, "a.corp"))) tell(command)
    tell(network("lab", "10.20.0.0/16", { client: clientId(n) }))
    tell(addresses(n, 1, "Resolved", ["10.20.0.10"], "a.corp"))
    step(n === 1 ? "send 1" : "send 2")
  }
  step("answer 1")
}

/** Everybody goes, and what was said of this host is taken back. */
const end = ({ tell }: ReturnType<typeof makeLife>): void => {
  for (const n of [1, 2]) tell({ _tag: "RemoveClient", client: clientId(n) })
  tell({ _tag: "SetRelays", relays: [] })
  tell({ _tag: "SetHostCandidates", addresses: [] })
  tell(policy)
}

/** What is no table of clients or mappings. */
const others = [
  // Memory and totals of the engine; what it worked on last.
  /^engine\.state\.(bytes|counters|(parking|early)\.memory)$/,
  /^engine\.(counted|wireguard\.handshakeCounts)$/,
  /^engine\.outbound\.(clients|lengths|offsets)$/,
  /^engine\.wireguard\.((peer|handshakes)\.|(sessions\.)?random$)/,
  // The gateway's own keys, but not what they share with clients.
  /^engine\.wireguard\.keys\.(current|ending)\.(?!shared)/,
  // What was written to slots that are free.
  /^engine\.state\.sessions\.(cold|numbers|records|(in|out)boundAhead\.index\.hashes)$/,
  // What is told of the last second, and how far that has come.
  /^engine\.state\.journal\.(flows\.(rows|taken|untold)|strangers|strangersUntold|turn|dueAt)/,
  // Numbers that are free to be given out; which round each of a mapping's numbers is in.
  /\.(free|freeSlots)$/,
  /^engine\.state\.(evidence|journal\.addresses)\.epochs$/,
  // Kept by the addresses of strangers, or by text.
  /^engine\.wireguard\.gate\./,
  /^engine\.executor\.addresses\./
]

const keptOfClients = ({ engine }: ReturnType<typeof makeLife>): ReadonlyArray<string> =>
  keptIn(engine).filter((path) => !others.some((other) => other.test(path)))

describe("an engine whose clients have all been removed", () => {
  it.prop(
    "keeps nothing that one without clients does not, in any table",
    [Lives],
    ([life]) => {
      const lived = makeLife()
      begin(lived)
      for (const what of life) lived.step(what)
      end(lived)
      const fresh = makeLife()
      end(fresh)
      assert.deepStrictEqual(keptOfClients(lived), keptOfClients(fresh))
    },
    { arbitrary: { runs: 100, size: 60 }, timeout: 60_000 }
  )

  it("has kept something in each of these while they were there", () => {
    const busy = makeLife()
    begin(busy)
    const [dead] = nameCommands(clientId(1), mappingId(1, "b.corp"), { proxyIps: ["100.96.0.5"] }).slice(1)
    busy.tell({ ...policy, packets: packetsAt.site })
    busy.step("send 2")
    busy.tell({ ...policy, packets: packetsAt.portal })
    busy.tell(dead!)
    busy.tell(addresses(1, 1, "Unresolved", [], "b.corp"))
    busy.step("send 1")
    assert.includeMembers(Array.from(keptOfClients(busy)), [
      "engine.outbound.control.limits.state",
      "engine.state.awaited.byClient",
      "engine.state.births.births.state",
      "engine.state.clients.by4",
      "engine.state.clients.by6",
      "engine.state.fragments.rings",
      "engine.state.gatewayPackets.state",
      "engine.state.icmpErrors.state",
      "engine.state.journal.addresses.clients",
      "engine.state.journal.refusals.tables",
      "engine.state.mappings.names",
      "engine.state.notices.limits.state",
      "engine.state.notices.sentAt",
      "engine.state.resources.names",
      "engine.state.routes.clients",
      "engine.state.silence.ports",
      "engine.state.translations.byProxy.rows",
      "engine.wireguard.peers"
    ])
  })
})
