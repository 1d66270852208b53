/** What the gateway's file and files of its host say of names: zones, records, search domains, block lists, hosts, asked by a client. */
import { assert, layer } from "@effect/vitest"
import { Context, Effect, Layer, Schedule } from "effect"
import * as LabLayer from "../../layers/lab/Lab.ts"
import { Lab, type LabError } from "../../src/lab/demo/Lab.ts"
import { tunnelAddresses } from "../../src/lab/demo/tunnel.ts"
import { glibc } from "../support/dnsPrograms.ts"
import { dig, digFully, inner } from "../support/lab.ts"
import { connectWireguardGo, startWorld, type World } from "../support/labWorld.ts"
import { startScripted } from "../support/nameServers.ts"
import type { WireguardGoError } from "../support/wireguardGo.ts"

const server = tunnelAddresses.gateway.v4
const { origin, otherOrigin } = inner
/** Of the set `corp`; the gateway's own resolver asks the company's server. */
const corpDns = "10.20.0.32"
/** Outside names lead there. */
const outside = ["8.8.4.1", "8.8.4.2", "8.8.4.3"] as const
/** In no network of the client. */
const elsewhere = "10.99.0.1"

interface Names extends World {
  readonly block: (text: string) => Effect.Effect<unknown, LabError>
  readonly hosts: (text: string) => Effect.Effect<unknown, LabError>
}

class Office extends Context.Service<Office, Names>()("sallyport/test/LocalNames") {}

const office: Layer.Layer<Office | Lab, LabError | WireguardGoError> = Layer.effect(
  Office,
  Effect.gen(function* () {
    const lab = yield* Lab
    yield* lab.exec("lan", ["ip", "address", "add", `${corpDns}/24`, "dev", "inner"])
    const hosts = (text: string) => lab.writeFile("hosts", text)
    const block = (text: string) => lab.writeFile("block.txt", text)
    const blockPath = yield* block("# of today\n0.0.0.0 ads.example.org\n")
    // Only this command sees the file.
    const mount = ["sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', yield* hosts("")]
    const world = yield* startWorld({
      dns: "none",
      companyDns: true,
      program: [...mount, ...lab.program("sallyport")],
      resolvers: [corpDns],
      resources: `  git: { name: git.corp.internal, resolver: corp, allow: [visitor] }
  lan: { cidr: ${inner.network.v4}, allow: [visitor] }`,
      more: `zones: { partner.example: corp, 0.20.10.in-addr.arpa: corp }
search: [corp.internal]
records:
  intra.home.arpa: { a: ${origin.v4} }
  www.home.arpa: { cname: git.corp.internal }
block: [${blockPath}]`
    })
    yield* startScripted(inner.dns.v4, {
      "shop.partner.example": { A: [outside[0]] },
      "ads.example.org": { A: [outside[0]] },
      "x.ads.example.org": { A: [outside[0]] },
      "tracker.example.org": { A: [outside[1]] },
      "mixed.example.org": { A: [elsewhere, origin.v4, outside[2]] },
      "far.example.org": { A: [elsewhere] }
    }).pipe(Effect.orDie)
    yield* startScripted(corpDns, {
      "git.corp.internal": { A: [origin.v4] },
      "shop.partner.example": { A: [otherOrigin.v4] },
      "20.0.20.10.in-addr.arpa": { PTR: "shop.partner.example" }
    }).pipe(Effect.orDie)
    yield* connectWireguardGo(world, { allowedIps: [inner.network.v4] })
    return { ...world, block, hosts }
  })
).pipe(Layer.provideMerge(LabLayer.layer))

const ask = (...question: ReadonlyArray<string>) => digFully("client", server, ...question)

/** Files are looked at once in a while. */
const askUntil = (name: string, isSo: (text: string) => boolean) =>
  ask(name, "A").pipe(
    Effect.repeat({ until: isSo, schedule: Schedule.spaced("200 millis") }),
    Effect.timeoutOrElse({
      duration: "20 seconds",
      orElse: () => Effect.flatMap(ask(name, "A"), (text) => Effect.die(new Error(text)))
    })
  )

layer(office, { excludeTestServices: true, timeout: "60 seconds" })("a client", (it) => {
  it.effect("opens a name of a zone, and is told a name of its reverse zone, by the zone's resolver set", () =>
    Effect.gen(function* () {
      const page = yield* glibc()("shop.partner.example")
      const reverse = yield* dig("client", server, "-x", otherOrigin.v4)

      assert.include(page, `served by ${otherOrigin.v4}`)
      assert.deepStrictEqual(reverse, ["shop.partner.example."])
    })
  )

  it.effect("opens a record's address, and a resource by a record that is its alias", () =>
    Effect.gen(function* () {
      const address = yield* glibc()("intra.home.arpa")
      const alias = yield* glibc()("www.home.arpa")

      assert.match(address, new RegExp(`^${origin.v4}\\b`, "m"))
      assert.include(address, `served by ${origin.v4}`)
      assert.match(alias, /^100\.96\./m)
      assert.include(alias, `served by ${origin.v4}`)
    })
  )

  it.effect("that knows no search domain opens a short name by the gateway's", () =>
    Effect.gen(function* () {
      // Some libraries append the host's own domain otherwise.
      const page = yield* glibc([`nameserver ${server}`, "search ."])("git")

      assert.match(page, /^100\.96\./m)
      assert.include(page, `served by ${origin.v4}`)
    })
  )

  it.effect("is told which names a list blocks, by the list as it is now", () =>
    Effect.gen(function* () {
      const { block } = yield* Office
      const before = yield* ask("ads.example.org", "A")
      const below = yield* dig("client", server, "x.ads.example.org", "A")
      const free = yield* dig("client", server, "tracker.example.org", "A")

      yield* block("tracker.example.org\n")
      const after = yield* askUntil("tracker.example.org", (text) => text.includes("NXDOMAIN"))
      const again = yield* dig("client", server, "ads.example.org", "A")

      assert.match(before, /status: NXDOMAIN[^]*EDE: 15 \(Blocked\)/)
      assert.deepStrictEqual([below, free], [[outside[0]], [outside[1]]])
      assert.match(after, /EDE: 15 \(Blocked\)/)
      assert.deepStrictEqual(again, [outside[0]])
    })
  )

  it.effect("is told what the hosts file of the gateway says now", () =>
    Effect.gen(function* () {
      const { hosts } = yield* Office
      yield* hosts(`${origin.v4} nas.example.org\n`)
      yield* askUntil("nas.example.org", (text) => text.includes("NOERROR"))
      const page = yield* glibc()("nas.example.org")

      yield* hosts(`${otherOrigin.v4} nas.example.org\n${outside[0]} host.example.org\n`)
      yield* askUntil("nas.example.org", (text) => text.includes(otherOrigin.v4))
      const moved = yield* glibc()("nas.example.org")
      const backwards = yield* dig("client", server, "-x", outside[0])

      assert.include(page, `served by ${origin.v4}`)
      assert.include(moved, `served by ${otherOrigin.v4}`)
      assert.deepStrictEqual(backwards, ["host.example.org."])
    })
  )

  it.effect("is told of an outside name those addresses only that it can reach, and that others were left out", () =>
    Effect.gen(function* () {
      const { gateway } = yield* Office
      const mixed = yield* ask("mixed.example.org", "A")
      const far = yield* ask("far.example.org", "A")
      const { controlPlane } = yield* gateway.status

      assert.include(mixed, origin.v4)
      assert.include(mixed, outside[2])
      for (const answer of [mixed, far]) {
        assert.notInclude(answer, elsewhere)
        assert.match(answer, /status: NOERROR[^]*EDE: 17 \(Filtered\)/)
      }
      assert.deepInclude(controlPlane.filtered?.last, {
        client: "visitor",
        name: "far.example.org",
        address: elsewhere
      })
    })
  )
})
