/** The company's name servers and hosts as they are: wrong about IPv6, dead in part, moved, replaced. */
import { assert, layer } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Schedule } from "effect"
import { Lab } from "../../src/lab/demo/Lab.ts"
import { tunnelAddresses } from "../../src/lab/demo/tunnel.ts"
import { glibc } from "../support/dnsPrograms.ts"
import type { DnsZone } from "../support/dnsServer.ts"
import { dig, digFully, inner } from "../support/lab.ts"
import { startScripted } from "../support/nameServers.ts"
import { stage, Stage } from "../support/stage.ts"

const { gateway } = tunnelAddresses
/** Hosts that can be cut off without harm to other tests. */
const [first, second, silent] = ["10.20.0.31", "10.20.0.32", "10.20.0.33"] as const
const [dnsNow, dnsThen] = [inner.dns.v4, second]
const healing = { every: 100, deadline: 20_000 } as const

/** How a server can be wrong about the IPv6 addresses of a name that has none (RFC 4074). */
const wrongAboutIpv6 = ["nxdomain", "servfail", "notimp", "refused", "blackhole"] as const
const broken = Array.from({ length: 30 }, (_, i) => `x${i}.broken.internal`)

const zone: DnsZone = {
  ...Object.fromEntries(
    wrongAboutIpv6.map((mode) => [`${mode}.corp.internal`, { A: [inner.origin.v4], modes: { AAAA: mode } }])
  ),
  ...Object.fromEntries(broken.map((name) => [name, { mode: "servfail" as const }])),
  ...Object.fromEntries([0, 1, 2].map((n) => [`healthy${n}.corp.internal`, { A: [inner.origin.v4] }])),
  "members.corp.internal": { A: [silent, first, second], ttl: 2 },
  "moving.corp.internal": { A: [first], ttl: 1 },
  "one.ports.internal": { A: [inner.origin.v4] },
  "other.ports.internal": { A: [inner.origin.v4] },
  "before.host.internal": { A: [inner.origin.v4] },
  "later.host.internal": { A: [inner.origin.v4] }
}

class Servers extends Context.Service<
  Servers,
  { readonly set: (zone: DnsZone) => Effect.Effect<unknown, unknown, Lab> }
>()("sallyport/test/DnsUpstreams") {}

const world = Layer.effect(
  Servers,
  Effect.gen(function* () {
    const lab = yield* Lab
    yield* lab.exec("lan", ["ip", "-batch", "-"], {
      input: [first, second, silent].map((address) => `address add ${address}/24 dev inner\n`).join("")
    })
    yield* lab.spawn("lan", [...lab.program("origin"), first, second])
    yield* dropTo("silent", silent)
    yield* startScripted(dnsThen, { "after.host.internal": { A: [inner.otherOrigin.v4] } })
    return yield* startScripted(dnsNow, zone)
  })
).pipe(
  Layer.provideMerge(
    stage({
      dns: "none",
      companyDns: true,
      resources: `  intranet: { name: "*.corp.internal", resolver: corp, allow: [visitor] }
  broken: { name: "*.broken.internal", resolver: corp, allow: [visitor] }
  host: { name: "*.host.internal", allow: [visitor] }
  one: { name: one.ports.internal, resolver: corp, ports: [tcp/80], allow: [visitor] }
  other: { name: other.ports.internal, resolver: corp, ports: [tcp/8080], allow: [visitor] }`
    })
  )
)

/** Packets to the address vanish from now on. */
const dropTo = Effect.fnUntraced(function* (table: string, address: string) {
  const lab = yield* Lab
  yield* lab.exec("lan", ["nft", "-f", "-"], {
    input: `table ip ${table} { chain in { type filter hook prerouting priority 0; ip daddr ${address} drop; }; }\n`
  })
})

const nameServers = Effect.fnUntraced(function* (...addresses: ReadonlyArray<string>) {
  const lab = yield* Lab
  yield* lab.writeFile("resolv.conf", addresses.map((address) => `nameserver ${address}\n`).join(""))
})

layer(world, { excludeTestServices: true, timeout: "60 seconds" })("through the gateway", (it) => {
  for (const mode of wrongAboutIpv6) {
    const says = mode === "blackhole" ? "is silent" : `says ${mode.toUpperCase()}`
    it.effect(`a name with IPv4 only opens although its server ${says} when asked for IPv6`, () =>
      Effect.gen(function* () {
        const answer = yield* glibc()(`${mode}.corp.internal`)

        assert.include(answer, `served by ${inner.origin.v4}`)
      })
    )
  }

  it.effect("a name with a dead member among three hosts opens by each of its proxy IPs, nearly always", () =>
    Effect.gen(function* () {
      const { visitor } = (yield* Stage).world
      const proxies = yield* dig("client", gateway.v4, "members.corp.internal", "A")
      const open = (address: string) =>
        visitor.get({ address, timeout: 8_000 }).pipe(
          Effect.map(({ servedBy }) => servedBy),
          Effect.catch(() => Effect.succeed("nobody"))
        )

      const served = yield* Effect.forEach([...proxies, ...proxies, ...proxies], open)

      assert.isAtLeast(proxies.length, 3)
      assert.isAtMost(served.filter((by) => by === "nobody").length, 1, served.join(" "))
      assert.sameMembers(
        [...new Set(served)].filter((by) => by !== "nobody"),
        [first, second]
      )
    })
  )

  it.effect("a quiet name whose host died follows DNS to the new host, although its answer was the same for long", () =>
    Effect.gen(function* () {
      const { visitor, ...world } = (yield* Stage).world
      const name = "moving.corp.internal"
      const address = yield* world.proxyOf(name)
      for (let n = 0; n < 5; n++) {
        yield* visitor.get({ address })
        yield* Effect.sleep("1300 millis")
      }

      yield* (yield* Servers).set({ ...zone, [name]: { A: [second], ttl: 1 } })
      yield* dropTo("moved", first)
      const { errors, page } = yield* visitor.retry({ address, servedBy: second, ...healing, deadline: 12_000 })

      assert.strictEqual(page?.servedBy, second, JSON.stringify(errors))
    })
  )

  it.effect("two names on one address open each its own port only", () =>
    Effect.gen(function* () {
      const { visitor, ...world } = (yield* Stage).world
      const one = yield* world.proxyOf("one.ports.internal")
      const other = yield* world.proxyOf("other.ports.internal")

      const opened = yield* Effect.forEach(
        [
          [one, 80],
          [one, 8080],
          [other, 80],
          [other, 8080]
        ] as const,
        ([address, port]) => visitor.connect({ address, port, timeout: 10_000 })
      )

      assert.deepStrictEqual(
        opened.map(({ ok }) => ok),
        [true, false, false, true]
      )
    })
  )

  it.effect(
    "healthy names open at their first use while thirty names of a broken zone are asked for all the time",
    () =>
      Effect.gen(function* () {
        const { visitor, ...world } = (yield* Stage).world
        const asking = yield* Effect.forkChild(
          Effect.forever(
            Effect.forEach(broken, (name) => visitor.resolve({ server: gateway.v4, name, type: "A", timeout: 1_000 }))
          )
        )
        yield* Effect.sleep("3 seconds")

        for (let n = 0; n < 3; n++) {
          const address = yield* world.proxyOf(`healthy${n}.corp.internal`)
          const { errors, page } = yield* visitor.retry({ address, ...healing })
          assert.deepStrictEqual([page?.servedBy, errors], [inner.origin.v4, {}])
        }
        yield* Fiber.interrupt(asking)
      })
  )

  it.effect(
    "a resolv.conf that is rewritten, emptied and filled again is followed, also by a name that found none",
    () =>
      Effect.gen(function* () {
        const { visitor, ...world } = (yield* Stage).world
        const open = (name: string, servedBy: string) =>
          Effect.flatMap(world.proxyOf(name), (address) => visitor.retry({ address, servedBy, ...healing }))
        const before = yield* open("before.host.internal", inner.origin.v4)

        yield* nameServers(dnsThen)
        // Whether the file is read anew is looked at once in a while.
        yield* digFully("client", gateway.v4, "after.host.internal", "A").pipe(
          Effect.repeat({ until: (text) => text.includes("NOERROR"), schedule: Schedule.spaced("500 millis") }),
          Effect.timeout("20 seconds")
        )
        const after = yield* open("after.host.internal", inner.otherOrigin.v4)
        yield* nameServers()
        const lost = yield* visitor.connect({ address: yield* world.proxyOf("later.host.internal"), timeout: 10_000 })
        yield* nameServers(dnsNow)
        const later = yield* open("later.host.internal", inner.origin.v4)

        assert.strictEqual(before.page?.servedBy, inner.origin.v4)
        assert.strictEqual(after.page?.servedBy, inner.otherOrigin.v4)
        assert.isFalse(lost.ok)
        assert.strictEqual(later.page?.servedBy, inner.origin.v4, JSON.stringify(later.errors))
      })
  )
})
