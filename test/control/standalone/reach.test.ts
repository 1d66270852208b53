/** What a policy is said to allow is what a gateway in memory lets through, DNS and packets. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import { TestClock } from "effect/testing"
import * as DataPlaneMemory from "../../../layers/memory/DataPlaneMemory.ts"
import { answer, ResolverScript } from "../../../layers/memory/ResolverMemory.ts"
import * as NameFilesMemory from "../../../layers/memory/NameFilesMemory.ts"
import * as StateStoreMemory from "../../../layers/memory/StateStoreMemory.ts"
import type { GatewayConfig } from "../../../src/config/GatewayConfig.ts"
import { parseTarget } from "../../../src/config/values.ts"
import { type Reach, ReachRules } from "../../../src/control/standalone/reach.ts"
import { emptyMessage } from "../../../src/dns/message.ts"
import { classInternet, recordType } from "../../../src/dns/registry.ts"
import type { LocalRecord } from "../../../src/dns/tunnelAnswer.ts"
import { NameFiles } from "../../../src/host/NameFiles.ts"
import { ClientId } from "../../../src/model/Client.ts"
import type { PortFilter } from "../../../src/model/PortFilter.ts"
import { type Resource, ResourceId } from "../../../src/model/Resource.ts"
import { formatTarget, type Target } from "../../../src/model/Target.ts"
import { DestinationPolicy } from "../../../src/nat/destinationPolicy.ts"
import { parseAddress, parseNetwork } from "../../../src/packet/address.ts"
import { cidrResource, dnsResource } from "../../support/access.ts"
import { lan, real4, send, syn } from "../../support/engineSteps.ts"
import { clientId, gatewayPrivateKey, makeClient, policy, tunnel4 } from "../../support/engineWorld.ts"
import { connect, type MemoryClient, sendInner } from "../../support/memoryClient.ts"
import { buildEcho, buildTcp, buildUdp } from "../../support/packets.ts"
import { addressesIn, configOf, layerGateway, query, UpstreamScript } from "../../support/standalone.ts"
import { makeRandom, type Random } from "../../support/traffic.ts"

/** As many as the fast tests have time for; more once with `REACH_POLICIES`. */
const policies = Number(process.env["REACH_POLICIES"] ?? 12)

const me = ClientId.make(clientId(1))

/** What other servers say of names that the policy leaves to them. */
const outside: Readonly<Record<string, string>> = {
  "www.example.org": "93.184.216.34",
  "nas.zone.example": "10.30.5.7",
  "x.corp": "10.30.9.9",
  "bad.example.org": "93.184.216.35"
}

const files = NameFilesMemory.layer({
  hosts: (domain) => (domain === "printer" ? ["10.30.5.8"] : domain === "router" ? ["10.99.0.1"] : undefined),
  blocked: (domain) => (domain === "bad.example.org" ? domain : undefined)
})

const names = [
  "git.corp",
  "a.dev.corp",
  "dev.corp",
  "corp",
  "git",
  "nas",
  "alias.example",
  "two.example",
  "rec.example"
]
const hosts = [
  ...names,
  ...Object.keys(outside),
  "printer",
  "router",
  "nowhere.example",
  "10.30.5.7",
  "10.30.77.1",
  "10.99.0.1",
  "10.20.0.1",
  "93.184.216.34",
  "127.0.0.1",
  "100.64.0.1",
  "100.64.1.2",
  "100.96.77.7"
]
const packets = [":22", ":443", ":53/udp", "/icmp"]

const targets: ReadonlyArray<Target> = hosts.flatMap((host) =>
  packets.map((packet) => Result.getOrThrow(parseTarget(`${host}${packet}`)))
)

const filters: ReadonlyArray<PortFilter> = [
  { protocol: "tcp", from: 22, to: 22 },
  { protocol: "tcp", from: 80, to: 443 },
  { protocol: "udp", from: 53, to: 53 },
  { protocol: "icmp" }
]

const randomPolicy = ({ chance, pick }: Random): GatewayConfig => {
  const some = <A>(items: ReadonlyArray<A>, probability = 0.5) => items.filter(() => chance(probability))
  const over = () => ({ filters: chance(0.4) ? [] : [pick(filters), pick(filters)] })
  const resources: ReadonlyArray<Resource> = some(
    [
      dnsResource("git.corp", over()),
      dnsResource("*.corp", over()),
      dnsResource("**.dev.corp", over()),
      dnsResource("a.dev.corp", over()),
      { ...cidrResource("10.30.0.0/16"), ...over() },
      { ...cidrResource("10.30.5.0/24"), ...over() },
      { ...cidrResource("10.20.0.0/24"), ...over(), allow: chance(0.5) ? (["gateway_host"] as const) : [] },
      { kind: "internet", id: ResourceId.make("internet"), allow: [], ...over() } as const
    ],
    0.6
  )
  const { clients } = configOf([])
  const grants = resources.map((resource) => ({
    resource,
    expiresAt: pick([null, null, null, 30_000, 1e9]),
    clients: some(clients, 0.6)
  }))
  const alias = (name: string): LocalRecord => ({ type: recordType.CNAME, data: { _tag: "Name", name }, ttl: 60 })
  const address = pick(["10.30.5.9", "10.99.0.9"])
  const records: ReadonlyArray<readonly [string, LocalRecord]> = [
    ["alias.example", alias("git.corp")],
    ["two.example", alias("alias.example")],
    ["rec.example", { type: recordType.A, data: { _tag: "Address", address }, ttl: 60 }]
  ]
  return configOf(resources, {
    grants,
    zones: some([{ domain: "zone.example", resolver: "zone", clients: chance(0.5) ? null : new Set(some([me])) }]),
    records: new Map(some(records).map(([name, record]) => [name, [record]])),
    search: some(["corp", "zone.example"], 0.8),
    otherNames: chance(0.8) ? "forward" : "refuse"
  })
}

const destinations = new DestinationPolicy()
destinations.setRanges(
  policy.tunnelNetworks.map((text) => parseNetwork(text)!),
  policy.proxyNetworks.map((text) => parseNetwork(text)!)
)
destinations.setOwnAddresses(policy.ownAddresses.map((text) => parseAddress(text)!))

let port = 20_000
const packetTo = (destination: string, { port: destinationPort, protocol }: Target): Uint8Array => {
  const from = { source: tunnel4(1), destination }
  const sourcePort = (port = port > 60_000 ? 20_000 : port + 1)
  if (protocol === "icmp") return buildEcho({ ...from, identifier: sourcePort })
  return protocol === "udp"
    ? buildUdp({ ...from, sourcePort, destinationPort: destinationPort! })
    : buildTcp({ ...from, sourcePort, destinationPort: destinationPort!, flags: syn })
}

/** What happens: the address that DNS tells, if it is asked, and whether a packet to it leaves the gateway. */
const tried = Effect.fnUntraced(function* (client: MemoryClient, out: ReadonlyArray<Uint8Array>, target: Target) {
  const [told] = target.address === undefined ? addressesIn(yield* query(target.host)) : [target.host]
  if (told === undefined) return { told: null, passed: false }
  const before = out.length
  yield* sendInner(client, packetTo(told, target))
  return { told, passed: out.length > before }
})

/** What the verdict says of it, with what other servers say where it depends on that. */
const isSaid = (rules: ReachRules, target: Target, { names, verdict }: Reach, now: number): boolean => {
  if (verdict._tag !== "Depends") return verdict._tag === "Allowed"
  const domain = names.at(-1)!
  const address = outside[domain]
  if (address === undefined) return false
  if (rules.untold(me, domain, address, now, verdict.as !== "networks") !== undefined) return false
  const reached = rules.toAddress(me, parseAddress(address)!, target, now)._tag === "Allowed"
  if (verdict.as === "outside" && verdict.internet !== null && address.startsWith("93.")) assert.isTrue(reached)
  return reached
}

describe("what a policy allows", () => {
  it.effect(
    "is what the gateway does: names, aliases, networks, ports, expiry, block lists and all",
    () =>
      Effect.gen(function* () {
        const random = makeRandom(20_261_130)
        const seen = new Map<string, number>()
        for (let i = 0; i < policies; i++) {
          const config = randomPolicy(random)
          yield* Effect.gen(function* () {
            yield* (yield* ResolverScript).set("*", answer([real4]))
            const { answers } = yield* UpstreamScript
            for (const [name, address] of Object.entries(outside)) {
              for (const set of ["system", "zone"]) {
                answers.set(`${set} ${name} ${recordType.A}`, {
                  ...emptyMessage,
                  response: true,
                  questions: [{ name, type: recordType.A, class: classInternet }],
                  answers: [
                    { name, type: recordType.A, class: classInternet, ttl: 60, data: { _tag: "Address", address } }
                  ]
                })
              }
            }
            // What expires does so by now.
            yield* TestClock.adjust("1 minute")
            yield* send(policy)
            const client = makeClient(1)
            yield* connect(client)
            const out = yield* lan
            const now = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
            const rules = new ReachRules(config, yield* NameFiles, destinations)
            for (const target of Array.from({ length: 40 }, () => random.pick(targets))) {
              const reach = rules.reach(me, target, now)
              const { verdict } = reach
              if (verdict._tag === "Short") continue
              const { passed, told } = yield* tried(client, out, target)
              const kind = verdict._tag === "Denied" ? verdict.why._tag : verdict._tag
              seen.set(kind, (seen.get(kind) ?? 0) + 1)
              assert.strictEqual(
                isSaid(rules, target, reach, now),
                passed,
                `policy ${i}: ${formatTarget(target)} (${told}): ${JSON.stringify(reach)}`
              )
              yield* TestClock.adjust("1 second")
            }
          }).pipe(
            Effect.provide(
              Layer.merge(
                files,
                layerGateway(
                  config,
                  DataPlaneMemory.layer({ privateKey: gatewayPrivateKey, maxSessions: 4_096 }),
                  undefined,
                  files
                )
              ).pipe(Layer.provide(StateStoreMemory.layer)),
              { local: true }
            )
          )
        }
        const kinds = [
          "Allowed",
          "Blocked",
          "Depends",
          "Expired",
          "Filtered",
          "OtherNames",
          "Private",
          "Proxy",
          "Refused"
        ]
        for (const kind of [...kinds, "Tunnel", "Unauthorized", "Uncovered", "Untold"])
          assert.isAtLeast(seen.get(kind) ?? 0, 1, kind)
      }),
    { timeout: 20_000 + policies * 1_000 }
  )

  const config = configOf([
    dnsResource("git.corp", { filters: [{ protocol: "tcp", from: 443, to: 443 }] }),
    dnsResource("*.corp", { filters: [{ protocol: "icmp" }] })
  ])
  const none = { blocked: () => undefined, hosts: () => undefined, hostOf: () => undefined }
  const rules = new ReachRules(config, none, destinations)
  const verdictOf = (text: string, client = me) => rules.reach(client, Result.getOrThrow(parseTarget(text)), 0).verdict

  it("is any packet where no port is given, and any port of a protocol alone", () => {
    assert.strictEqual(verdictOf("git.corp")._tag, "Allowed")
    assert.strictEqual(verdictOf("git.corp/tcp")._tag, "Allowed")
    assert.strictEqual(verdictOf("git.corp/udp")._tag, "Denied")
    assert.strictEqual(verdictOf("a.corp/tcp")._tag, "Denied")
  })

  it("is told with the grant that lets the packet through, be another one more specific", () => {
    const verdict = verdictOf("git.corp/icmp")
    assert.deepInclude(verdict, { _tag: "Allowed" })
    assert.strictEqual(verdict._tag === "Allowed" ? verdict.by?.resource.id : "", "resource *.corp")
    assert.lengthOf(verdict._tag === "Allowed" ? verdict.grants : [], 2)
  })

  it("is not what another client may", () => {
    const verdict = verdictOf("git.corp:443", ClientId.make(clientId(2)))
    assert.strictEqual(verdict._tag === "Denied" ? verdict.why._tag : "", "Unauthorized")
  })
})
