/** Flows that end since what allowed them is gone are counted, each once, in whatever way it goes. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import type { Command } from "../../src/dataplane/commands.ts"
import {
  ack,
  counter,
  network,
  ready,
  real4,
  reply,
  send,
  syn,
  tcp,
  tcpBack,
  udp,
  udpBack
} from "../support/engineSteps.ts"
import {
  addresses,
  clientId,
  key,
  layer,
  mappingId,
  policy,
  primitives,
  proxy4,
  resourceId,
  setMapping,
  upsertClient
} from "../support/engineWorld.ts"
import { sendInner } from "../support/memoryClient.ts"

const client = clientId(1)
const mapping = mappingId(1, "app.corp")
const app = { client, resource: resourceId("app") }
const mapped = setMapping(1, "app.corp", [proxy4])
const removed: Command = { _tag: "RemoveMapping", mapping }
const revoked: Command = { _tag: "RevokeResource", ...app }

/** A TCP and a UDP flow to a name, and one to a network. */
const open = Effect.gen(function* () {
  const opened = yield* ready({ proxyIps: [proxy4] })
  yield* send(policy, addresses(1, 1, "Resolved", [real4]), network("lan", "10.30.0.0/16"))
  yield* sendInner(opened, tcp(443, syn), udp(53), udp(53, "10.30.0.9", 50_001))
  yield* reply(opened, tcpBack(443, syn | ack), udpBack(53), udpBack(53, "10.30.0.9", 50_001))
  assert.strictEqual(yield* counter("sessions.created"), 3)
})

const ways: ReadonlyArray<readonly [what: string, cut: number, commands: ReadonlyArray<Command>]> = [
  ["the name's resource is revoked", 2, [revoked]],
  ["it is revoked, and the name forgotten after that", 2, [revoked, removed]],
  ["it is revoked, and the client removed after that", 3, [revoked, { _tag: "RemoveClient", client }]],
  ["the network's resource is revoked", 1, [{ ...revoked, resource: resourceId("lan") }]],
  ["the name is forgotten", 2, [removed]],
  ["the name has other proxies", 2, [{ ...mapped, proxyIps: ["100.96.0.9"], generation: 2 }]],
  ["the name has more proxies", 0, [{ ...mapped, proxyIps: ["100.96.0.9", proxy4], generation: 2 }]],
  ["the name is covered by another resource only", 2, [{ ...mapped, resources: [resourceId("other")] }]],
  [
    "fewer ports are open",
    1,
    [network("app", null, { kind: "dns", filters: [{ protocol: "udp", from: 53, to: 53 }] })]
  ],
  ["the network is narrower", 1, [network("lan", "10.30.1.0/24")]],
  ["the client is removed", 3, [{ _tag: "RemoveClient", client }]],
  [
    "another device has the client's name",
    3,
    [{ ...upsertClient(1), publicKey: Buffer.from(primitives.x25519(key(9)).publicKey).toString("base64") }]
  ],
  ["the network's address becomes the gateway's own", 1, [{ ...policy, ownAddresses: ["10.30.0.9"] }]],
  ["nothing is said that was not known", 0, [mapped, policy]]
]

describe("flows are cut", () => {
  it.effect.each(ways)("and counted when %s", ([, cut, commands]) =>
    Effect.gen(function* () {
      yield* open
      yield* send(...commands)
      yield* (yield* DataPlane).settled

      assert.deepStrictEqual([yield* counter("sessions.cut"), yield* counter("sessions.live")], [cut, 3 - cut])
    }).pipe(Effect.provide(layer))
  )
})
