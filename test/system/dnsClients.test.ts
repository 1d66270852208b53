/** Programs with resolvers of their own writing ask the tunnel's DNS server; nsd is the company's name server and the host's. */
import { assert, layer } from "@effect/vitest"
import { Context, Effect, Layer, type Scope } from "effect"
import { Lab, type LabError } from "../../src/lab/demo/Lab.ts"
import { dig, digFully, inner } from "../support/lab.ts"
import { tunnelAddresses } from "../../src/lab/demo/tunnel.ts"
import {
  buildMusl,
  cares,
  glibc,
  go,
  type LookUp,
  searching,
  startResolved,
  startValidator
} from "../support/dnsPrograms.ts"
import { startNsd } from "../support/nameServers.ts"
import { signZone } from "../support/signedZone.ts"
import { stage } from "../support/stage.ts"

/** An address of the Internet: outside names lead there. */
const outsideAddress = "8.8.4.1"
const names = ["glibc", "musl", "go", "cares", "resolved", "validator", "short"]

interface Programs {
  readonly musl: (resolvConf?: ReadonlyArray<string>) => LookUp
  readonly resolved: LookUp
  readonly validator: { readonly address: string; readonly lookUp: LookUp }
}

class Clients extends Context.Service<Clients, Programs>()("sallyport/test/DnsClients") {}

const world = Layer.effect(
  Clients,
  Effect.gen(function* (): Effect.fn.Return<Programs, LabError, Lab | Scope.Scope> {
    const signed = yield* signZone("example.com", outsideAddress)
    yield* startNsd({
      address: inner.dns.v4,
      zones: {
        "corp.internal": names.flatMap((name) => [
          `${name} A ${inner.origin.v4}`,
          `${name} AAAA ${inner.origin.v6}`,
          `${name}.four A ${inner.origin.v4}`
        ]),
        "example.net": [`* A ${outsideAddress}`]
      },
      files: { "example.com": signed.file }
    })
    return {
      musl: yield* buildMusl,
      resolved: yield* startResolved,
      validator: yield* startValidator(signed.anchor)
    }
  })
).pipe(
  Layer.provideMerge(
    stage({
      dns: "none",
      companyDns: true,
      resources: `  intranet: { name: "**.corp.internal", resolver: corp, allow: [visitor] }`
    })
  )
)

const programs: ReadonlyArray<readonly [name: string, title: string, of: (all: Programs) => LookUp]> = [
  ["glibc", "glibc", () => glibc()],
  ["musl", "musl", ({ musl }) => musl()],
  ["go", "Go's resolver", () => go],
  ["cares", "c-ares", () => cares],
  ["resolved", "systemd-resolved", ({ resolved }) => resolved],
  ["validator", "a validating unbound", ({ validator }) => validator.lookUp]
]

/** Go's program only counts the pages. */
const page = /The intranet, served by \S+|\[200\]\s+1 responses/
const proxy4 = /^100\.(9[6-9]|1[01]\d|12[0-7])\./m

layer(world, { excludeTestServices: true, timeout: "90 seconds" })("behind the tunnel", (it) => {
  for (const [name, title, lookUpOf] of programs) {
    it.effect(`${title} opens a page by a name asked for the first time, and one that has IPv4 only`, () =>
      Effect.gen(function* () {
        const lookUp = lookUpOf(yield* Clients)

        const dual = yield* lookUp(`${name}.corp.internal`)
        const four = yield* lookUp(`${name}.four.corp.internal`)

        assert.match(dual, page)
        assert.match(four, page)
        if (name !== "go") assert.match(four, proxy4)
      })
    )
  }

  for (const [name, title, lookUpOf] of programs.filter(([program]) => program !== "go")) {
    it.effect(`${title} gets the address of an outside name`, () =>
      Effect.gen(function* () {
        const lab = yield* Lab
        // No host of the lab has that address: who tries hears so at once.
        yield* lab.attempt("client", ["ip", "route", "replace", "unreachable", outsideAddress])
        const lookUp = lookUpOf(yield* Clients)

        const answer = yield* lookUp(`${name}.example.net`)

        assert.match(answer, new RegExp(`^${outsideAddress}\\b`, "m"))
      })
    )
  }

  it.effect("musl with a search list and ndots:5 opens a short name, and finds an outside name behind it", () =>
    Effect.gen(function* () {
      const { musl } = yield* Clients
      const lookUp = musl(searching("corp.internal"))

      const short = yield* lookUp("short")
      const outside = yield* lookUp("searching.example.net")

      assert.match(short, page)
      assert.match(outside, new RegExp(`^${outsideAddress}\\b`, "m"))
      assert.notMatch(outside, proxy4)
    })
  )

  it.effect("a validating unbound validates a signed outside name, and refuses one whose signature does not fit", () =>
    Effect.gen(function* () {
      const { address } = (yield* Clients).validator

      const good = yield* digFully("client", address, "+dnssec", "www.example.com", "A")
      const forged = yield* digFully("client", address, "+dnssec", "forged.example.com", "A")
      const unchecked = yield* dig("client", tunnelAddresses.gateway.v4, "forged.example.com", "A")

      assert.match(good, /flags: qr rd ra ad;/)
      assert.match(good, /RRSIG\s+A 13 3 /)
      assert.match(forged, /status: SERVFAIL/)
      assert.deepStrictEqual(unchecked, [outsideAddress])
    })
  )
})
