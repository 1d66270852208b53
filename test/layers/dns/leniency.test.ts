/** What servers get wrong and are understood all the same: the rows of the table at `judge` (src/dns/query.ts). */
import * as os from "node:os"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Message } from "../../../src/dns/message.ts"
import { rcode, recordType } from "../../../src/dns/registry.ts"
import { Upstream } from "../../../src/dns/Upstream.ts"
import type { ResolverServer } from "../../../src/model/ResolverSet.ts"
import { Resolver } from "../../../src/resolution/Resolver.ts"
import * as ResolverLive from "../../../layers/dns/Resolver.ts"
import * as UpstreamLive from "../../../layers/dns/Upstream.ts"
import { type OddAnswer, oddDnsServer, type OddServer, replyTo } from "../../support/oddDnsServer.ts"

/** Runs against the given servers as the set `corp`. */
const using =
  (servers: ReadonlyArray<ResolverServer>, options: Partial<UpstreamLive.UpstreamOptions> = {}) =>
  <A, E>(body: Effect.Effect<A, E, Upstream | Resolver>): Effect.Effect<A, E> => {
    const all = { sets: { corp: { servers, order: "fallback" as const } }, resolvConf: os.devNull, ...options }
    return Effect.provide(
      body,
      ResolverLive.layer({ ...all, hosts: os.devNull, graceMs: 100 }).pipe(Layer.provideMerge(UpstreamLive.layer(all)))
    )
  }

const ask = (domain = "app.test", type: number = recordType.A) =>
  Upstream.use((upstream) => upstream.exchange("corp", { domain, type }))

const counters = Upstream.use((upstream) => upstream.counters)

const addressesOf = (message: Message): ReadonlyArray<string> =>
  message.answers.flatMap(({ data }) => (data._tag === "Address" ? [data.address] : []))

const without = (query: Message): Partial<Message> => ({ answers: [], questions: query.questions })

/** Answers with the first one, as it is or in parts, and never anything else over TCP. */
const odd =
  (answer: (query: Message) => Uint8Array): OddAnswer =>
  ({ query }) => [answer(query)]

const eventually = (condition: () => boolean): Effect.Effect<void> =>
  Effect.gen(function* () {
    for (let i = 0; !condition(); i++) {
      assert.isBelow(i, 2_000, "within 20 s")
      yield* Effect.sleep(10)
    }
  })

describe("a server that gets EDNS wrong", () => {
  const complains = (over: (query: Message) => Partial<Message>): OddAnswer =>
    odd((query) => (query.edns === null ? replyTo(query) : replyTo(query, { answers: [], edns: null, ...over(query) })))
  const edns = { udpPayloadSize: 1232, version: 0, dnssecOk: false, options: [] }
  const servers: Readonly<Record<string, OddAnswer>> = {
    "FORMERR without the question": complains(() => ({ rcode: rcode.FormErr, questions: [] })),
    "FORMERR with the question": complains(() => ({ rcode: rcode.FormErr })),
    "FORMERR with OPT": complains(() => ({ rcode: rcode.FormErr, edns })),
    NOTIMP: complains(() => ({ rcode: rcode.NotImp })),
    "NOTIMP without the question": complains(() => ({ rcode: rcode.NotImp, questions: [] })),
    BADVERS: complains(() => ({ rcode: rcode.BadVers, edns })),
    SERVFAIL: complains(() => ({ rcode: rcode.ServFail })),
    "SERVFAIL without the question": complains(() => ({ rcode: rcode.ServFail, questions: [] })),
    REFUSED: complains(() => ({ rcode: rcode.Refused })),
    "an error that is none of a resolver's (NOTAUTH)": complains(() => ({ rcode: 9 })),
    silence: ({ query }) => (query.edns === null ? [replyTo(query)] : [])
  }
  for (const [name, answer] of Object.entries(servers)) {
    it.live(`${name}: is asked without it, and from then on at once`, () =>
      Effect.gen(function* () {
        const { asked, server } = yield* oddDnsServer(answer)
        yield* Effect.gen(function* () {
          assert.deepStrictEqual(addressesOf(yield* ask()), ["10.0.0.1"])
          // The look again in the background, whose questions have EDNS, is over some time.
          yield* eventually(() => asked.filter(({ query }) => query.edns !== null).length >= 2)
          for (let i = 0; i < 5; i++) {
            assert.deepStrictEqual(addressesOf(yield* ask(`n${i}.test`)), ["10.0.0.1"])
            const mine = asked.filter(({ query }) => query.questions[0]!.name.toLowerCase() === `n${i}.test`)
            assert.deepStrictEqual(
              mine.map(({ query }) => query.edns),
              [null]
            )
          }
        }).pipe(using([server], { resendMs: 200 }))
      })
    )
  }

  it.live("in the middle of its life (SERVFAIL since an update) is asked without it as well", () =>
    Effect.gen(function* () {
      let broken = false
      const { server } = yield* oddDnsServer(({ query }) => [
        broken && query.edns !== null ? replyTo(query, { answers: [], rcode: rcode.ServFail }) : replyTo(query)
      ])
      yield* Effect.gen(function* () {
        yield* ask("one.test")
        broken = true
        assert.deepStrictEqual(addressesOf(yield* ask("two.test")), ["10.0.0.1"])
      }).pipe(using([server]))
    })
  )

  it.live("one lost datagram is no reason to do without EDNS: it is looked at again at once", () =>
    Effect.gen(function* () {
      let lost = 0
      const { asked, server } = yield* oddDnsServer(({ query }) => (lost++ === 0 ? [] : [replyTo(query)]))
      yield* Effect.gen(function* () {
        yield* ask()
        yield* eventually(() => asked.length >= 3)
        const lastOf = (domain: string) =>
          Effect.map(ask(domain), () =>
            asked.findLast(({ query }) => query.questions[0]!.name.toLowerCase() === domain)
          )
        for (let i = 0; ; i++) {
          assert.isBelow(i, 200, "with EDNS again")
          const last = yield* lastOf(`n${i}.test`)
          if (last?.query.edns !== null) break
          yield* Effect.sleep(10)
        }
      }).pipe(using([server], { resendMs: 200 }))
    })
  )
})

describe("a server that answers over TCP only", () => {
  it.live("is found, and asked over one connection from then on", () =>
    Effect.gen(function* () {
      const { asked, server } = yield* oddDnsServer(({ query, transport }) =>
        transport === "udp" ? [] : [replyTo(query)]
      )
      yield* Effect.gen(function* () {
        assert.deepStrictEqual(addressesOf(yield* ask()), ["10.0.0.1"])
        const sent = asked.length
        for (let i = 0; i < 5; i++) yield* ask(`n${i}.test`)
        assert.deepStrictEqual(
          asked.slice(sent).map(({ transport }) => transport),
          Array(5).fill("tcp")
        )
        assert.strictEqual((yield* counters)["stream_connections"], 1)
      }).pipe(using([server], { resendMs: 100 }))
    })
  )

  it.live("and has FORMERR for EDNS there is asked without", () =>
    Effect.gen(function* () {
      const { server } = yield* oddDnsServer(({ query, transport }) => {
        if (transport === "udp") return [replyTo(query, { answers: [], truncated: true })]
        return [
          query.edns === null ? replyTo(query) : replyTo(query, { answers: [], rcode: rcode.FormErr, edns: null })
        ]
      })
      assert.deepStrictEqual(addressesOf(yield* ask().pipe(using([server]))), ["10.0.0.1"])
    })
  )
})

describe("a server that truncates and has no TCP", () => {
  const truncating: OddAnswer = ({ query, transport }) =>
    transport === "udp" ? [replyTo(query, { truncated: true })] : []
  const torn: OddAnswer = ({ query, transport }) => {
    if (transport === "tcp") return null
    const { name } = query.questions[0]!
    const record = (address: string) =>
      ({ name, type: recordType.A, class: 1, ttl: 1, data: { _tag: "Address", address } }) as const
    const whole = replyTo(query, { truncated: true, edns: null, answers: [record("10.0.0.1"), record("10.0.0.2")] })
    return [whole.subarray(0, whole.length - 2)]
  }
  const servers: Readonly<Record<string, readonly [OddAnswer, { readonly tcp: boolean }]>> = {
    refused: [truncating, { tcp: false }],
    closed: [(asked) => (asked.transport === "tcp" ? null : truncating(asked)), { tcp: true }],
    silent: [truncating, { tcp: true }],
    "SERVFAIL there": [
      (asked) =>
        asked.transport === "tcp" ? [replyTo(asked.query, { answers: [], rcode: rcode.ServFail })] : truncating(asked),
      { tcp: true }
    ],
    "closed, and a record cut in two": [torn, { tcp: true }]
  }
  for (const [name, [answer, options]] of Object.entries(servers)) {
    it.live(`(${name}) gives what its datagram had`, () =>
      Effect.gen(function* () {
        const { server } = yield* oddDnsServer(answer, options)
        yield* Effect.gen(function* () {
          assert.deepStrictEqual(addressesOf(yield* ask()), ["10.0.0.1"])
          assert.isAtLeast((yield* counters)["truncated_used"]!, 1)
        }).pipe(using([server]))
      })
    )
  }

  it.live("is not tried over TCP at each question", () =>
    Effect.gen(function* () {
      const { server } = yield* oddDnsServer(truncating, { tcp: false })
      yield* Effect.gen(function* () {
        for (let i = 0; i < 5; i++) yield* ask(`n${i}.test`)
        assert.strictEqual((yield* counters)["stream_connections"], 1)
      }).pipe(using([server]))
    })
  )
})

describe("an answer that is odd in its bytes", () => {
  const garbage = Uint8Array.of(1, 2, 3, 4, 5)
  const opt = Uint8Array.of(0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0)
  const joined = (bytes: Uint8Array, more: Uint8Array): Uint8Array => Uint8Array.from([...bytes, ...more])
  const servers: Readonly<Record<string, OddAnswer>> = {
    "bytes behind the message": odd((query) => joined(replyTo(query), garbage)),
    "an authority section that is none": odd((query) => {
      const bytes = joined(replyTo(query, { edns: null }), garbage)
      bytes[9] = 2
      return bytes
    }),
    "two OPT records": odd((query) => {
      const bytes = joined(joined(replyTo(query, { edns: null }), opt), opt)
      bytes[11] = 2
      return bytes
    }),
    "twice the same": ({ query }) => [replyTo(query), replyTo(query)],
    "a forged one before it": ({ query }) => [replyTo(query, { id: query.id ^ 1 }), replyTo(query)],
    "the question in small letters": odd((query) => {
      const question = query.questions[0]!
      return replyTo(query, { questions: [{ ...question, name: question.name.toLowerCase() }] })
    })
  }
  for (const [name, answer] of Object.entries(servers)) {
    it.live(`(${name}) is read`, () =>
      Effect.gen(function* () {
        const { server } = yield* oddDnsServer(answer)
        assert.deepStrictEqual(addressesOf(yield* ask("some-longer-name.app.test").pipe(using([server]))), ["10.0.0.1"])
      })
    )
  }

  it.live("(2,000 addresses over TCP) gives as many as are used", () =>
    Effect.gen(function* () {
      const { server } = yield* oddDnsServer(({ query, transport }) => {
        if (transport === "udp") return [replyTo(query, { answers: [], truncated: true })]
        const { name, type } = query.questions[0]!
        if (type !== recordType.A) return [replyTo(query, without(query))]
        const answers = Array.from({ length: 2_000 }, (_, i) => ({
          name,
          type,
          class: 1,
          ttl: 60,
          data: { _tag: "Address", address: `10.0.${i >> 8}.${i & 255}` } as const
        }))
        return [replyTo(query, { answers })]
      })
      const { addresses } = yield* Resolver.use((r) => r.resolve({ resolver: "corp", domain: "app.test" })).pipe(
        using([server])
      )
      assert.strictEqual(addresses.length, 64)
    })
  )
})

describe("0x20", () => {
  it.live("questions have random case, which nobody sees in the answer", () =>
    Effect.gen(function* () {
      const { asked, server } = yield* oddDnsServer(odd((query) => replyTo(query)))
      const domain = "a-name-with-some-letters.test"
      const message = yield* ask(domain).pipe(using([server]))
      assert.strictEqual(message.answers[0]!.name, domain)
      const sent = asked[0]!.query.questions[0]!.name
      assert.notStrictEqual(sent, domain)
      assert.strictEqual(sent.toLowerCase(), domain)
    })
  )

  it.live("a server that does not keep it is asked once more, and then without", () =>
    Effect.gen(function* () {
      const { asked, server } = yield* oddDnsServer(
        odd((query) =>
          replyTo(query, { questions: [{ ...query.questions[0]!, name: query.questions[0]!.name.toUpperCase() }] })
        )
      )
      const domain = "a-name-with-some-letters.test"
      yield* Effect.gen(function* () {
        for (let i = 0; i < 3; i++) assert.deepStrictEqual(addressesOf(yield* ask(domain)), ["10.0.0.1"])
        const names = asked.map(({ query }) => query.questions[0]!.name)
        assert.deepStrictEqual(names.slice(1), [domain, domain, domain])
        assert.strictEqual((yield* counters)["case_changed"], 1)
      }).pipe(using([server]))
    })
  )
})

describe("a server that says no for a moment", () => {
  for (const code of ["ServFail", "Refused"] as const) {
    it.live(`(${code}) and is known to do without EDNS is asked once more, and no oftener`, () =>
      Effect.gen(function* () {
        let noes = 0
        const { asked, server } = yield* oddDnsServer(({ query }) => {
          if (query.edns !== null) return [replyTo(query, { answers: [], edns: null, rcode: rcode.FormErr })]
          return [noes-- > 0 ? replyTo(query, { answers: [], rcode: rcode[code] }) : replyTo(query)]
        })
        const askedFor = (domain: string) =>
          asked.filter(({ query }) => query.questions[0]!.name.toLowerCase() === domain && query.edns === null).length
        yield* Effect.gen(function* () {
          yield* ask("first.test")
          noes = 1
          assert.deepStrictEqual(addressesOf(yield* ask("moment.test")), ["10.0.0.1"])
          noes = Number.POSITIVE_INFINITY
          const error = yield* Effect.flip(ask("always.test"))

          assert.strictEqual(error.reason._tag, "ServerFailure")
          assert.deepStrictEqual(["moment.test", "always.test"].map(askedFor), [2, 2])
        }).pipe(using([server]))
      })
    )
  }
})

describe("a server that is no help leads to the next one", () => {
  const servers: Readonly<Record<string, OddAnswer>> = {
    "lame: neither an answer nor recursion": odd((query) =>
      replyTo(query, { ...without(query), recursionAvailable: false, edns: null })
    ),
    "SERVFAIL without the question": odd((query) =>
      replyTo(query, { answers: [], questions: [], rcode: rcode.ServFail })
    ),
    "REFUSED, also without EDNS": odd((query) => replyTo(query, { answers: [], rcode: rcode.Refused }))
  }
  for (const [name, answer] of Object.entries(servers)) {
    it.live(name, () =>
      Effect.gen(function* () {
        const bad = yield* oddDnsServer(answer)
        const good = yield* oddDnsServer(odd((query) => replyTo(query)))
        const message = yield* ask().pipe(using([bad.server, good.server], { resendMs: 60_000 }))
        assert.deepStrictEqual(addressesOf(message), ["10.0.0.1"])
      })
    )
  }
})

describe("a server that gets AAAA wrong", () => {
  const servers: Readonly<Record<string, OddAnswer>> = {
    NXDOMAIN: odd((query) => replyTo(query, { answers: [], rcode: rcode.NXDomain })),
    SERVFAIL: odd((query) => replyTo(query, { answers: [], rcode: rcode.ServFail })),
    NOTIMP: odd((query) => replyTo(query, { answers: [], rcode: rcode.NotImp })),
    REFUSED: odd((query) => replyTo(query, { answers: [], rcode: rcode.Refused })),
    silence: () => [],
    "lame referral": odd((query) => replyTo(query, { ...without(query), recursionAvailable: false, edns: null }))
  }
  for (const [name, answer] of Object.entries(servers)) {
    it.live(`(${name}) still gives the A records, and is not held to be dead or without EDNS for it`, () =>
      Effect.gen(function* () {
        const { asked, server }: OddServer = yield* oddDnsServer((question) =>
          question.type === recordType.AAAA ? answer(question) : [replyTo(question.query)]
        )
        yield* Effect.gen(function* () {
          const resolver = yield* Resolver
          const { addresses } = yield* resolver.resolve({ resolver: "corp", domain: "app.test" })
          assert.deepStrictEqual(addresses, ["10.0.0.1"])
          yield* ask("other.test")
          const last = asked.findLast(({ type }) => type === recordType.A)
          assert.isNotNull(last?.query.edns)
        }).pipe(using([server]))
      })
    )
  }
})
