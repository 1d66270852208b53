import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"
import { decode } from "../../src/dns/decode.ts"
import { waitFor } from "../../src/host/DnsSockets.ts"
import { atOnce, type Told } from "../../src/loops/later.ts"
import { encode } from "../../src/dns/encode.ts"
import type { Message, ResourceRecord } from "../../src/dns/message.ts"
import { emptyMessage, isMalformed } from "../../src/dns/message.ts"
import { rcode, recordType } from "../../src/dns/registry.ts"
import type { TunnelAnswer, TunnelQuestion } from "../../src/dns/tunnelAnswer.ts"
import { extendedErrorOption } from "../../src/dns/extendedError.ts"
import { answerQuery, handleQuery } from "../../src/dns/tunnelServer.ts"
import { dnsMessage } from "../support/dnsMessages.ts"
import { bytes } from "../support/packetArbitraries.ts"

const query = (name: string, type: number, more: Partial<Message> = {}): Message => ({
  ...emptyMessage,
  id: 0x4242,
  recursionDesired: true,
  questions: [{ name, type, class: 1 }],
  ...more
})

const edns = (udpPayloadSize: number, version = 0): Message["edns"] => ({
  udpPayloadSize,
  version,
  dnssecOk: true,
  options: []
})

/** Asks with one answer; gives the decoded reply, its size, and what `lookup` was asked. */
const ask = Effect.fnUntraced(function* (
  data: Uint8Array | Message,
  answer: TunnelAnswer = { _tag: "Refused" },
  transport: "udp" | "tcp" = "udp"
) {
  const asked = yield* Ref.make<ReadonlyArray<TunnelQuestion>>([])
  const input = data instanceof Uint8Array ? data : encode(data)!
  const output = yield* handleQuery(input, transport, (question) =>
    Effect.as(
      Ref.update(asked, (all) => [...all, question]),
      answer
    )
  )
  const message = output === null ? null : decode(output)
  assert.isFalse(message !== null && isMalformed(message))
  return {
    reply: message as Message | null,
    size: output?.length ?? 0,
    asked: yield* Ref.get(asked)
  }
})

const addresses: TunnelAnswer = { _tag: "Addresses", addresses: ["100.96.0.1", "100.96.0.2", "fd00::1"], ttl: 30 }

const dataOf = (records: ReadonlyArray<ResourceRecord> | undefined) => records?.map((r) => [r.name, r.ttl, r.data])

describe("tunnel DNS server", () => {
  it.effect("answers with the addresses of the asked family, the question as it was written", () =>
    Effect.gen(function* () {
      const { asked, reply } = yield* ask(query("GitLab.Corp.test", recordType.A), addresses)

      assert.deepStrictEqual(asked, [
        {
          domain: "gitlab.corp.test",
          type: 1,
          family: 4,
          reverse: null,
          dnssecOk: false,
          checkingDisabled: false,
          authenticData: false
        }
      ])
      assert.deepStrictEqual(dataOf(reply?.answers), [
        ["GitLab.Corp.test", 30, { _tag: "Address", address: "100.96.0.1" }],
        ["GitLab.Corp.test", 30, { _tag: "Address", address: "100.96.0.2" }]
      ])
      assert.deepStrictEqual(reply?.questions, [{ name: "GitLab.Corp.test", type: 1, class: 1 }])
      assert.strictEqual(reply?.id, 0x4242)
      assert.isTrue(reply?.response && reply.recursionAvailable && reply.recursionDesired && reply.authoritative)
      assert.isNull(reply?.edns)

      const v6 = yield* ask(query("gitlab.corp.test", recordType.AAAA), addresses)
      assert.strictEqual(v6.asked[0]?.family, 6)
      assert.deepStrictEqual(dataOf(v6.reply?.answers), [
        ["gitlab.corp.test", 30, { _tag: "Address", address: "fd00::1" }]
      ])
    })
  )

  it.effect("no address of the asked family is NODATA with an SOA record that limits its life", () =>
    Effect.gen(function* () {
      const { reply } = yield* ask(query("a.corp.test", recordType.AAAA), { ...addresses, addresses: ["100.96.0.1"] })

      assert.strictEqual(reply?.rcode, rcode.NoError)
      assert.strictEqual(reply?.answers.length, 0)
      const [soa] = reply!.authorities
      assert.deepInclude(soa, { name: "corp.test", type: recordType.SOA, ttl: 30 })
      assert.isTrue(soa?.data._tag === "Soa" && soa.data.minimum === 30)
    })
  )

  it.effect("NXDOMAIN carries the SOA record too; at the root as well", () =>
    Effect.gen(function* () {
      const { reply } = yield* ask(query("test", recordType.A), { _tag: "NameError", ttl: 5 })
      assert.strictEqual(reply?.rcode, rcode.NXDomain)
      assert.deepInclude(reply?.authorities[0], { name: ".", ttl: 5 })
      assert.strictEqual((yield* ask(query(".", 2), { _tag: "NameError", ttl: 5 })).reply?.rcode, rcode.NXDomain)
    })
  )

  it.effect("a PTR question is handed over as its address and answered with the name", () =>
    Effect.gen(function* () {
      const answer: TunnelAnswer = { _tag: "Reverse", name: "gitlab.corp.test", ttl: 30 }
      const { asked, reply } = yield* ask(query("1.0.96.100.IN-ADDR.arpa", recordType.PTR), answer)

      assert.strictEqual(asked[0]?.reverse, "100.96.0.1")
      assert.deepStrictEqual(dataOf(reply?.answers), [
        ["1.0.96.100.IN-ADDR.arpa", 30, { _tag: "Name", name: "gitlab.corp.test" }]
      ])
    })
  )

  it.effect("an upstream's answer goes out under the client's id and question, whatever it carried", () =>
    Effect.gen(function* () {
      const record: ResourceRecord = {
        name: "corp.test",
        type: 16,
        class: 1,
        ttl: 7,
        data: { _tag: "Raw", bytes: Uint8Array.of(1, 0x61) }
      }
      const upstream = {
        ...query("corp.test", 16),
        id: 9,
        response: true,
        answers: [record],
        edns: edns(4096)
      }
      const { reply } = yield* ask(query("Corp.test", 16), { _tag: "Forwarded", message: upstream })

      assert.strictEqual(reply?.id, 0x4242)
      assert.deepStrictEqual(reply?.questions, [{ name: "Corp.test", type: 16, class: 1 }])
      assert.deepStrictEqual(reply?.answers, [{ ...record, name: "Corp.test" }])
      assert.isFalse(reply?.authoritative)
      assert.isNull(reply?.edns)

      const nx: TunnelAnswer = { _tag: "Forwarded", message: { ...upstream, answers: [], rcode: rcode.NXDomain } }
      assert.strictEqual((yield* ask(query("corp.test", 16), nx)).reply?.rcode, rcode.NXDomain)
    })
  )

  it.effect("REFUSED, SERVFAIL and silence are what lookup says; a defect is SERVFAIL", () =>
    Effect.gen(function* () {
      const q = query("a.test", recordType.A)
      assert.strictEqual((yield* ask(q, { _tag: "Refused" })).reply?.rcode, rcode.Refused)
      assert.strictEqual((yield* ask(q, { _tag: "ServerFailure" })).reply?.rcode, rcode.ServFail)
      assert.isNull((yield* ask(q, { _tag: "Dropped" })).reply)
      const broken = yield* handleQuery(encode(q)!, "udp", () => Effect.die("bug"))
      assert.strictEqual(broken![3]! & 15, rcode.ServFail)
    })
  )

  it.effect("what is known is answered at once, and all that the protocol itself answers; the rest is looked up", () =>
    Effect.gen(function* () {
      const asked: Array<string> = []
      const lookup = ({ domain }: TunnelQuestion) => {
        asked.push(domain)
        return Effect.succeed(addresses)
      }
      const known = ({ domain }: TunnelQuestion) => (domain === "known.test" ? addresses : undefined)
      const reply = (data: Uint8Array) => answerQuery(data, "udp", { lookup, known })
      const bytesOf = (name: string) => encode(query(name, recordType.A))!

      assert.deepStrictEqual(reply(bytesOf("known.test")), yield* handleQuery(bytesOf("known.test"), "udp", lookup))
      assert.deepStrictEqual(asked.splice(0), ["known.test"])
      assert.isNull(reply(new Uint8Array(11)))
      assert.instanceOf(reply(bytesOf("use-application-dns.net")), Uint8Array)
      assert.instanceOf(reply(bytesOf("a.test").subarray(0, 14)), Uint8Array)
      assert.isTrue(Effect.isEffect(reply(bytesOf("new.test"))))
      assert.deepStrictEqual(asked, ["new.test"])
    })
  )

  it.effect("what is known later is told then, also what it takes a fiber to find out; a bug is SERVFAIL", () =>
    Effect.gen(function* () {
      const laters: ReadonlyArray<Told<TunnelAnswer>> = [addresses, Effect.succeed(addresses), Effect.die("bug")]
      const codes: Array<number> = []
      for (const told of laters) {
        const known = () => atOnce(told)
        const reply = answerQuery(encode(query("a.test", recordType.A))!, "udp", { known, lookup: () => Effect.never })
        codes.push((yield* waitFor(reply))![3]! & 15)
      }
      assert.deepStrictEqual(codes, [rcode.NoError, rcode.NoError, rcode.ServFail])
    })
  )

  it.effect("an answer that cannot be written is SERVFAIL", () =>
    Effect.gen(function* () {
      const { reply } = yield* ask(query("1.in-addr.arpa", 12), { _tag: "Reverse", name: "no..name", ttl: 1 })
      assert.strictEqual(reply?.rcode, rcode.ServFail)
      assert.strictEqual(reply?.answers.length, 0)
    })
  )

  it.effect("ANY and transfers are REFUSED, without a lookup", () =>
    Effect.gen(function* () {
      for (const type of [recordType.ANY, recordType.AXFR, recordType.IXFR, recordType.OPT]) {
        const { asked, reply } = yield* ask(query("a.test", type), addresses)
        assert.deepStrictEqual([reply?.rcode, asked.length], [rcode.Refused, 0])
      }
    })
  )

  it.effect("names that would make a browser or a system leave for other servers do not exist", () =>
    Effect.gen(function* () {
      const canary = yield* ask(query("Use-Application-DNS.net", recordType.A), addresses)
      assert.deepStrictEqual([canary.reply?.rcode, canary.asked.length], [rcode.NXDomain, 0])
      const ddr = yield* ask(query("_dns.resolver.arpa", recordType.SVCB), addresses)
      assert.deepStrictEqual([ddr.reply?.rcode, ddr.reply?.answers.length, ddr.asked.length], [0, 0, 0])
    })
  )

  it.effect("what a validating client asks for is handed on, and AD comes back to who understands it", () =>
    Effect.gen(function* () {
      const forwarded: TunnelAnswer = { _tag: "Forwarded", message: { ...emptyMessage, authenticData: true } }
      const plain = { ...edns(1232)!, dnssecOk: false }
      const asked = Effect.fnUntraced(function* (more: Partial<Message>) {
        const { asked, reply } = yield* ask(query("a.test", 1, more), forwarded)
        const { authenticData, checkingDisabled, dnssecOk } = asked[0]!
        return { dnssecOk, checkingDisabled, authenticData, ad: reply!.authenticData, cd: reply!.checkingDisabled }
      })

      const none = { dnssecOk: false, checkingDisabled: false, authenticData: false, ad: false, cd: false }
      assert.deepStrictEqual(yield* asked({}), none)
      assert.deepStrictEqual(yield* asked({ edns: plain }), none)
      assert.deepStrictEqual(yield* asked({ authenticData: true }), { ...none, authenticData: true, ad: true })
      assert.deepStrictEqual(yield* asked({ edns: edns(1232), checkingDisabled: true }), {
        dnssecOk: true,
        checkingDisabled: true,
        authenticData: true,
        ad: true,
        cd: true
      })
      const own = yield* ask(query("a.test", 1, { authenticData: true }), addresses)
      assert.isFalse(own.reply?.authenticData)
    })
  )

  it.effect("why an answer is no is told to clients with EDNS (RFC 8914), and only to them", () =>
    Effect.gen(function* () {
      const error = { code: 3, text: "why" }
      const options = [{ code: 15, data: Uint8Array.of(0, 3, 0x77, 0x68, 0x79) }]
      assert.deepStrictEqual([extendedErrorOption(error)], options)
      const answers: ReadonlyArray<TunnelAnswer> = [
        { _tag: "ServerFailure", error },
        { _tag: "Refused", error },
        { _tag: "NameError", ttl: 1, error },
        { _tag: "NoData", ttl: 1, error },
        { _tag: "Forwarded", message: emptyMessage, error }
      ]
      for (const answer of answers) {
        const { reply } = yield* ask(query("a.test", 1, { edns: edns(1232) }), answer)
        assert.deepStrictEqual(reply?.edns?.options, options)
        assert.isNull((yield* ask(query("a.test", 1), answer)).reply?.edns)
      }
    })
  )

  it.effect("what is no proper query gets the proper error, or nothing", () =>
    Effect.gen(function* () {
      const q = query("a.test", recordType.A)
      const code = (data: Uint8Array | Message) => Effect.map(ask(data, addresses), (r) => r.reply?.rcode ?? null)

      assert.isNull(yield* code(new Uint8Array(11)))
      assert.isNull(yield* code({ ...q, response: true }))
      assert.strictEqual(yield* code(encode(q)!.subarray(0, 15)), rcode.FormErr)
      assert.strictEqual(yield* code({ ...q, questions: [] }), rcode.FormErr)
      assert.strictEqual(yield* code({ ...q, questions: [...q.questions, ...q.questions] }), rcode.FormErr)
      assert.strictEqual(yield* code({ ...q, opcode: 5 }), rcode.NotImp)
      assert.strictEqual(yield* code({ ...q, questions: [{ name: "a.test", type: 1, class: 3 }] }), rcode.Refused)
      const { asked, reply } = yield* ask({ ...q, edns: edns(1232, 1) }, addresses)
      assert.deepStrictEqual([reply?.rcode, reply?.edns?.version, asked.length], [rcode.BadVers, 0, 0])
    })
  )

  it.effect(
    "over UDP an answer too large is empty with TC: over 512 bytes, over the offer, over 1232; TCP has it all",
    () =>
      Effect.gen(function* () {
        // 12 + 12 bytes of header and question, then 16 per address.
        const answer = (n: number): TunnelAnswer => ({
          _tag: "Addresses",
          addresses: Array.from({ length: n }, (_, i) => `100.96.1.${i}`),
          ttl: 30
        })
        const q = query("a.test", recordType.A)

        const fits = yield* ask(q, answer(30))
        assert.deepStrictEqual([fits.size, fits.reply?.truncated], [504, false])
        const over = yield* ask(q, answer(31))
        assert.deepStrictEqual([over.reply?.truncated, over.reply?.answers.length], [true, 0])
        assert.isFalse((yield* ask({ ...q, edns: edns(600) }, answer(31))).reply?.truncated)
        assert.isTrue((yield* ask({ ...q, edns: edns(0) }, answer(31))).reply?.truncated)
        assert.isFalse((yield* ask({ ...q, edns: edns(0xffff) }, answer(74))).reply?.truncated)
        assert.isTrue((yield* ask({ ...q, edns: edns(0xffff) }, answer(75))).reply?.truncated)
        const tcp = yield* ask(q, answer(200), "tcp")
        assert.deepStrictEqual([tcp.reply?.truncated, tcp.reply?.answers.length], [false, 200])
      })
  )

  it.effect("EDNS is answered with EDNS: our size, the asker's DO bit", () =>
    Effect.gen(function* () {
      const { reply } = yield* ask(query("a.test", 1, { edns: edns(4096), checkingDisabled: true }), addresses)
      assert.deepStrictEqual(reply?.edns, { udpPayloadSize: 1232, version: 0, dnssecOk: true, options: [] })
      assert.isTrue(reply?.checkingDisabled)
    })
  )

  it.effect.prop("any bytes get a well-formed answer or none", [bytes(100)], ([data]) => ask(data, addresses))

  it.effect.prop("any message gets an answer under its id, unless it is one", [dnsMessage], ([message]) =>
    Effect.gen(function* () {
      const { reply } = yield* ask(message, addresses)
      assert.strictEqual(reply === null, message.response)
      if (reply !== null) assert.deepStrictEqual([reply.id, reply.response], [message.id, true])
    })
  )
})
