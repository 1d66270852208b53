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

const { gateway } = tunnelAddresses
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
        "corp.internal": names
          .flatMap((name) => [
            `${name} A ${inner.origin.v4}`,
            `${name} AAAA ${inner.origin.v6}`,
            `${name}.four A ${inner.origin.v4}`
          ])
          .concat([
            "@ TXT hello",
            "@ MX 10 mail",
            `*.wild A ${inner.origin.v4}`,
            "front\\032desk._ipp._tcp SRV 0 0 631 printer",
            "_ldap._tcp SRV 0 0 389 dc1"
          ]),
        "example.net": [
          `* A ${outsideAddress}`,
          `big TXT ${Array.from({ length: 12 }, () => "x".repeat(250)).join(" ")}`
        ]
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

/** Each with the words for a name that does not exist. */
const programs: ReadonlyArray<readonly [name: string, title: string, of: (all: Programs) => LookUp, unknown: RegExp]> =
  [
    ["glibc", "glibc", () => glibc(), /^unknown$/m],
    ["musl", "musl", ({ musl }) => musl(), /Name does not resolve/],
    ["go", "Go's resolver", () => go, /no such host/],
    ["cares", "c-ares", () => cares, /ENOTFOUND.*[^]*ENOTFOUND/],
    ["resolved", "systemd-resolved", ({ resolved }) => resolved, /^unknown$/m],
    ["validator", "a validating unbound", ({ validator }) => validator.lookUp, /^unknown$/m]
  ]

/** Go's program only counts the pages. */
const page = /The intranet, served by \S+|\[200\]\s+1 responses/
const proxy4 = /^100\.(9[6-9]|1[01]\d|12[0-7])\./m

layer(world, { excludeTestServices: true, timeout: "90 seconds" })("behind the tunnel", (it) => {
  for (const [name, title, lookUpOf, unknown] of programs) {
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

    it.effect(`${title} hears at the first question that a name does not exist`, () =>
      Effect.gen(function* () {
        const lookUp = lookUpOf(yield* Clients)

        const answer = yield* lookUp(`${name}.absent.corp.internal`)

        assert.match(answer, unknown)
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

  for (const [name, title] of [
    ["glibc", "glibc"],
    ["musl", "musl"]
  ] as const) {
    it.effect(`${title} with a search list and ndots:5 opens a short name, and finds an outside name behind it`, () =>
      Effect.gen(function* () {
        const { musl } = yield* Clients
        const lookUp = (name === "glibc" ? glibc : musl)(searching("corp.internal"))

        const short = yield* lookUp(name === "glibc" ? "short" : "short.four")
        const outside = yield* lookUp(`${name}-searching.example.net`)

        assert.match(short, page)
        assert.match(outside, new RegExp(`^${outsideAddress}\\b`, "m"))
        assert.notMatch(outside, proxy4)
      })
    )
  }

  it.effect("a validating unbound validates a signed outside name, and refuses one whose signature does not fit", () =>
    Effect.gen(function* () {
      const { address } = (yield* Clients).validator

      const good = yield* digFully("client", address, "+dnssec", "www.example.com", "A")
      const forged = yield* digFully("client", address, "+dnssec", "forged.example.com", "A")
      const unchecked = yield* dig("client", gateway.v4, "forged.example.com", "A")

      assert.match(good, /flags: qr rd ra ad;/)
      assert.match(good, /RRSIG\s+A 13 3 /)
      assert.match(forged, /status: SERVFAIL/)
      assert.deepStrictEqual(unchecked, [outsideAddress])
    })
  )

  it.effect("names of any shape and questions of any kind are answered as any resolver answers them", () =>
    Effect.gen(function* () {
      const [address = "none"] = yield* dig("client", gateway.v4, "shape.wild.corp.internal", "A")
      const ask = (...question: ReadonlyArray<string>) => digFully("client", gateway.v4, ...question)
      const longest = `${Array.from({ length: 3 }, () => "a".repeat(63)).join(".")}.${"b".repeat(42)}.wild.corp.internal`

      const answers = yield* Effect.forEach(questions(longest, address), ([expected, ...question]) =>
        Effect.map(ask(...question), (text) => ({ expected, question: question.join(" "), text }))
      )

      for (const { expected, question, text } of answers) assert.match(text, expected, question)
    })
  )
})

const found = /status: NOERROR[^]*ANSWER SECTION/
const mapped = /status: NOERROR[^]*\bA\s+100\.(9[6-9]|1[01]\d|12[0-7])\./

/** What is to be found in `dig`'s output, and its arguments. */
const questions = (longest: string, proxy: string): ReadonlyArray<readonly [RegExp, ...ReadonlyArray<string>]> => [
  [mapped, "GiTlAb.WiLd.CoRp.InTeRnAl", "A"],
  // A question's own spelling comes back: who mixes cases against forgery counts on it.
  [/^GiTlAb\.WiLd\.CoRp\.InTeRnAl\.\s/m, "GiTlAb.WiLd.CoRp.InTeRnAl", "A"],
  [mapped, longest, "A"],
  [mapped, "1.2.3.wild.corp.internal", "A"],
  [mapped, "_acme-challenge.wild.corp.internal", "A"],
  [mapped, "-q", "-leading.wild.corp.internal", "A"],
  [mapped, "it's\\032a\\/b\\@c.wild.corp.internal", "A"],
  [/SRV\s+0 0 631 printer\.corp\.internal/, "Front\\032Desk._ipp._tcp.corp.internal", "SRV"],
  [/SRV\s+0 0 389 dc1\.corp\.internal/, "_ldap._tcp.corp.internal", "SRV"],
  [/TXT\s+"hello"/, "corp.internal", "TXT"],
  [/MX\s+10 mail\.corp\.internal/, "corp.internal", "MX"],
  [/status: NOERROR[^]*ANSWER: 0/, "shape.wild.corp.internal", "HTTPS"],
  [/status: NOERROR[^]*ANSWER: 0/, "shape.wild.corp.internal", "TYPE65280"],
  [/status: (REFUSED|NOERROR)/, "corp.internal", "ANY"],
  [/status: REFUSED|Transfer failed/, "corp.internal", "AXFR"],
  [/status: REFUSED/, "-c", "CH", "-t", "TXT", "version.bind"],
  [/status: NOTIMP/, "+opcode=STATUS", "shape.wild.corp.internal"],
  [/status: BADVERS/, "+edns=1", "+noednsneg", "shape.wild.corp.internal"],
  [mapped, "+cookie", "+nsid", "+padding=128", "+subnet=192.0.2.0/24", "shape.wild.corp.internal", "A"],
  [mapped, "+bufsize=65494", "+dnssec", "shape.wild.corp.internal", "A"],
  [mapped, "+norecurse", "shape.wild.corp.internal", "A"],
  [mapped, "+tcp", "shape.wild.corp.internal", "A"],
  [/PTR\s+shape\.wild\.corp\.internal/, "-x", proxy],
  [found, "big.example.net", "TXT"],
  [found, "+noedns", "big.example.net", "TXT"],
  [found, "+tcp", "big.example.net", "TXT"],
  [/status: NXDOMAIN/, "absent.example.com", "A"]
]
