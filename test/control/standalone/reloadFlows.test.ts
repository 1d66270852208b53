/** A reload among open flows: one that its client may have before and after goes on, any other has ended when it is done. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { TestClock } from "effect/testing"
import { answer, ResolverScript } from "../../../layers/memory/ResolverMemory.ts"
import * as StateStoreMemory from "../../../layers/memory/StateStoreMemory.ts"
import type { GatewayConfig } from "../../../src/config/GatewayConfig.ts"
import { Registry, type ReloadReport } from "../../../src/control/Registry.ts"
import { DataPlane } from "../../../src/dataplane/DataPlane.ts"
import { matches } from "../../../src/model/DomainPattern.ts"
import { type Resource, ResourceId } from "../../../src/model/Resource.ts"
import { permits, compileFilters } from "../../../src/nat/portFilters.ts"
import { contains, parseAddress, parseNetwork } from "../../../src/packet/address.ts"
import { cidrResource, dnsResource } from "../../support/access.ts"
import { ack, counter, lan, parsed, reply, syn } from "../../support/engineSteps.ts"
import { layer as dataPlane, makeClient, policy, tunnel4 } from "../../support/engineWorld.ts"
import { connect, type MemoryClient, sendInner } from "../../support/memoryClient.ts"
import { buildTcp } from "../../support/packets.ts"
import { policyNames, randomPolicy } from "../../support/randomPolicy.ts"
import { ask, configOf, layerGateway } from "../../support/standalone.ts"
import { makeRandom } from "../../support/traffic.ts"

/** As many as the fast tests have time for; 1,000 once more with `RELOAD_PAIRS`. */
const pairs = Number(process.env["RELOAD_PAIRS"] ?? 60)
const real = "9.7.0.10"
const hosts = ["9.0.0.9", "9.1.0.9", "9.1.5.9", "9.2.0.9"]
const ports = [80, 443]

/** To a name, or to an address. */
interface Flow {
  readonly client: number
  readonly to: string
  readonly destination: string
  readonly port: number
  readonly sourcePort: number
}

const covers = (resource: Resource, { port, to }: Flow): boolean => {
  if (!permits(compileFilters(resource.filters), 6, port)) return false
  const address = parseAddress(to)
  if (resource.kind === "dns") return address === undefined && matches(resource.pattern, to)
  if (address === undefined) return false
  return resource.kind === "internet" || contains(parseNetwork(resource.network)!, address)
}

const may = ({ grants }: GatewayConfig, flow: Flow): boolean =>
  grants.some(
    ({ clients, expiresAt, resource }) =>
      clients.some((client) => client.tunnel4 === tunnel4(flow.client)) &&
      (expiresAt === null || expiresAt > 60_000) &&
      covers(resource, flow)
  )

const keyOf = ({ clients }: GatewayConfig, n: number) => clients.find((c) => c.tunnel4 === tunnel4(n))?.publicKey

/** Where the client's flows to the name or address go; none where it is told that there is no such name. */
const destinationOf = Effect.fnUntraced(function* (client: number, to: string) {
  if (parseAddress(to) !== undefined) return to
  const told = yield* ask(to, 1, tunnel4(client))
  return told._tag === "Addresses" ? told.addresses[0] : undefined
})

const packet = ({ client, destination, port, sourcePort }: Flow, flags: number) =>
  buildTcp({ source: tunnel4(client), destination, sourcePort, destinationPort: port, flags })

/** Of the client's flows those whose packets reach the network behind the gateway. */
const carried = Effect.fnUntraced(function* (
  flows: ReadonlyArray<Flow>,
  client: MemoryClient,
  out: Array<Uint8Array>,
  flags: number
) {
  out.length = 0
  yield* sendInner(client, ...flows.map((flow) => packet(flow, flags)))
  const arrived = new Set(out.map((bytes) => parsed(bytes).sourcePort))
  return flows.filter(({ sourcePort }) => arrived.has(sourcePort))
})

/** Opens every flow that the clients may have; they are answered. */
const openAll = Effect.fnUntraced(function* (clients: ReadonlyArray<MemoryClient>, out: Array<Uint8Array>) {
  const opened: Array<ReadonlyArray<Flow>> = []
  for (const [i, client] of clients.entries()) {
    yield* connect(client)
    const flows: Array<Flow> = []
    for (const to of [...policyNames, ...hosts]) {
      const destination = yield* destinationOf(i + 1, to)
      if (destination === undefined) continue
      for (const port of ports)
        flows.push({ client: i + 1, to, destination, port, sourcePort: 20_000 + i * 100 + flows.length })
    }
    const open = yield* carried(flows, client, out, syn)
    for (const { client: n, port, sourcePort, to } of open) {
      const source = parseAddress(to) === undefined ? real : to
      const back = { source, destination: tunnel4(n), sourcePort: port, destinationPort: sourcePort, flags: syn | ack }
      yield* reply(client, buildTcp(back))
    }
    opened.push(open)
  }
  return opened
})

const reloaded = Effect.gen(function* () {
  const reload = yield* Effect.forkChild((yield* Registry).reload)
  while (reload.pollUnsafe() === undefined) yield* TestClock.adjust("20 millis")
  return yield* Fiber.join(reload)
})

/** From one policy to the other with every flow open that the first one lets through. */
const story = (a: GatewayConfig, b: GatewayConfig, what: string): Effect.Effect<ReloadReport["sessions"], unknown> =>
  Effect.gen(function* () {
    yield* Effect.flatMap(ResolverScript, (script) => script.set("*", answer([real])))
    yield* (yield* DataPlane).send(policy)
    const out = yield* lan
    const clients = [makeClient(1), makeClient(2)]
    const open = yield* openAll(clients, out)
    const all = open.flat()
    for (const flow of all) assert.isTrue(may(a, flow), `${what}: ${JSON.stringify(flow)} is open`)
    const before = yield* counter("sessions.cut")

    const { sessions } = yield* reloaded

    const left = all.filter((flow) => may(b, flow) && keyOf(a, flow.client) === keyOf(b, flow.client))
    assert.deepStrictEqual(
      { ...sessions, counted: (yield* counter("sessions.cut")) - before },
      { cut: all.length - left.length, untouched: left.length, counted: all.length - left.length },
      what
    )
    for (const [i, client] of clients.entries()) {
      const wanted = left.filter((flow) => flow.client === i + 1)
      const still = yield* carried(open[i]!, client, out, ack)
      assert.deepStrictEqual(still, wanted, `${what}: what goes on`)
    }
    assert.strictEqual(yield* counter("sessions.created"), all.length, `${what}: none began anew`)
    return sessions
  }).pipe(
    Effect.provide(layerGateway(a, dataPlane, Effect.succeed(b)), { local: true }),
    Effect.provide(StateStoreMemory.layer, { local: true })
  )

const id = (text: string) => ({ id: ResourceId.make(text) })
const tcp = (...of: ReadonlyArray<number>) => ({
  filters: of.map((port) => ({ protocol: "tcp" as const, from: port, to: port }))
})
const lanOf = (network: string, over: object) => ({ ...cidrResource(network), ...over })

/** What an operator does to a file that cuts nobody, each with flows that would be lost one change after the other. */
const harmless: ReadonlyArray<
  readonly [what: string, before: ReadonlyArray<Resource>, after: ReadonlyArray<Resource>]
> = [
  ["a network renamed", [lanOf("9.1.0.0/16", id("lan"))], [lanOf("9.1.0.0/16", id("office"))]],
  ["a network widened", [lanOf("9.1.0.0/16", id("lan"))], [lanOf("9.0.0.0/14", id("lan"))]],
  ["a name renamed", [dnsResource("a.corp", id("git"))], [dnsResource("a.corp", id("gitlab"))]],
  ["a name widened", [dnsResource("a.corp", id("git"))], [dnsResource("*.corp", id("git"))]],
  ["a name below a wildcard", [dnsResource("*.corp", id("all"))], policyNames.map((name) => dnsResource(name))],
  ["ports added", [dnsResource("a.corp", tcp(443))], [dnsResource("a.corp", tcp(80, 443))]],
  [
    "two networks that swap their places",
    [lanOf("9.1.0.0/16", id("one")), lanOf("9.2.0.0/16", id("two"))],
    [lanOf("9.2.0.0/16", id("one")), lanOf("9.1.0.0/16", id("two"))]
  ],
  [
    "two names that swap their places",
    [dnsResource("a.corp", id("one")), dnsResource("b.corp", id("two"))],
    [dnsResource("b.corp", id("one")), dnsResource("a.corp", id("two"))]
  ],
  [
    "two resources that swap their kinds",
    [dnsResource("a.corp", id("one")), lanOf("9.1.0.0/16", id("two"))],
    [lanOf("9.1.0.0/16", id("one")), dnsResource("a.corp", id("two"))]
  ],
  ["another resolver", [dnsResource("a.corp", { resolver: "one" })], [dnsResource("a.corp", { resolver: "two" })]]
]

describe("open flows over a reload", () => {
  it.effect.each(harmless)("all go on: %s", ([what, before, after]) =>
    Effect.gen(function* () {
      yield* TestClock.adjust("1 minute")
      const { cut, untouched } = yield* story(configOf(before), configOf(after), what)

      assert.strictEqual(cut, 0)
      assert.isAbove(untouched, 0)
    })
  )

  it.effect("go on where both policies allow them and end where the new one does not, whatever the two are", () =>
    Effect.gen(function* () {
      const random = makeRandom(20_261_130)
      yield* TestClock.adjust("1 minute")
      for (let i = 0; i < pairs; i++) {
        const b = ({ publicKey }: { readonly publicKey: string }) => ({
          publicKey: random.below(8) > 0 ? publicKey : Buffer.alloc(32, 7).toString("base64")
        })
        yield* story(randomPolicy(random), randomPolicy(random, b), `pair ${i}`)
      }
    })
  )
})
