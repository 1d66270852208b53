import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import { decode } from "../../src/dns/decode.ts"
import { encode } from "../../src/dns/encode.ts"
import type { FamilyOutcome } from "../../src/dns/families.ts"
import { combineFamilies } from "../../src/dns/families.ts"
import type { Message, ResourceRecord } from "../../src/dns/message.ts"
import { emptyMessage, isMalformed } from "../../src/dns/message.ts"
import type { Query } from "../../src/dns/query.ts"
import { encodeQuery, judge, maxTtl, readAddresses } from "../../src/dns/query.ts"
import { rcode, recordType } from "../../src/dns/registry.ts"
import { bytes, integer } from "../support/packetArbitraries.ts"

const maxAddresses = 64
const maxChain = 16
const query: Query = { id: 0x1234, domain: "app.corp.test", type: recordType.A }

const reply: Message = {
  ...emptyMessage,
  id: query.id,
  response: true,
  recursionAvailable: true,
  questions: [{ name: "App.Corp.TEST", type: recordType.A, class: 1 }],
  edns: { udpPayloadSize: 1232, version: 0, dnssecOk: false, options: [] }
}

const a = (name: string, address: string, ttl = 60): ResourceRecord => ({
  name,
  type: address.includes(":") ? recordType.AAAA : recordType.A,
  class: 1,
  ttl,
  data: { _tag: "Address", address }
})

const cname = (name: string, target: string, ttl = 60): ResourceRecord => ({
  name,
  type: recordType.CNAME,
  class: 1,
  ttl,
  data: { _tag: "Name", name: target }
})

const soa = (name: string, ttl: number, minimum: number): ResourceRecord => ({
  name,
  type: recordType.SOA,
  class: 1,
  ttl,
  data: { _tag: "Soa", mname: "ns.test", rname: "x.test", serial: 1, refresh: 1, retry: 1, expire: 1, minimum }
})

const verdict = (message: Message, transport: "udp" | "tcp" = "udp", withEdns = true): string =>
  judge(query, encode(message)!, transport, withEdns)._tag

describe("DNS query", () => {
  it("asks one question with recursion desired, and offers 1232 bytes and takes AD unless EDNS is off", () => {
    const message = decode(encodeQuery(query, true)!)
    assert.isFalse(isMalformed(message))
    assert.deepStrictEqual(message, {
      ...emptyMessage,
      id: 0x1234,
      recursionDesired: true,
      authenticData: true,
      questions: [{ name: "app.corp.test", type: 1, class: 1 }],
      edns: { udpPayloadSize: 1232, version: 0, dnssecOk: false, options: [] }
    })
    const plain = decode(encodeQuery(query, false)!)
    assert.isTrue(!isMalformed(plain) && plain.edns === null)
  })

  it("asks with DO and CD as the question says; without EDNS there is no DO", () => {
    const validating = { ...query, dnssecOk: true, checkingDisabled: true }
    const flagsOf = (edns: boolean) => {
      const message = decode(encodeQuery(validating, edns)!)
      return isMalformed(message) ? null : [message.checkingDisabled, message.edns?.dnssecOk]
    }
    assert.deepStrictEqual(
      [flagsOf(true), flagsOf(false)],
      [
        [true, true],
        [true, undefined]
      ]
    )
  })

  it("what is no DNS name makes no query", () => {
    assert.isNull(encodeQuery({ ...query, domain: "a..b" }, true))
  })
})

describe("judging an answer", () => {
  it("the case of the question does not matter", () => {
    assert.strictEqual(verdict(reply), "Usable")
    assert.strictEqual(verdict({ ...reply, rcode: rcode.NXDomain }), "Usable")
  })

  it("another id, a query, another opcode or another question is foreign", () => {
    assert.strictEqual(verdict({ ...reply, id: 0x1235 }), "Foreign")
    assert.strictEqual(verdict({ ...reply, response: false }), "Foreign")
    assert.strictEqual(verdict({ ...reply, opcode: 4 }), "Foreign")
    assert.strictEqual(verdict({ ...reply, questions: [] }), "Foreign")
    const [question] = reply.questions
    assert.strictEqual(verdict({ ...reply, questions: [{ ...question!, type: recordType.AAAA }] }), "Foreign")
    assert.strictEqual(verdict({ ...reply, questions: [{ ...question!, class: 3 }] }), "Foreign")
    assert.strictEqual(verdict({ ...reply, questions: [{ ...question!, name: "b.corp.test" }] }), "Foreign")
    assert.strictEqual(verdict({ ...reply, questions: [question!, question!] }), "Foreign")
  })

  it("a truncated answer is asked again over TCP, and is a failure there", () => {
    assert.strictEqual(verdict({ ...reply, truncated: true }), "Truncated")
    assert.strictEqual(verdict({ ...reply, truncated: true }, "tcp"), "Failed")
    const torn = encode({ ...reply, truncated: true, answers: [a("app.corp.test", "10.0.0.1")] })!.subarray(0, 40)
    assert.strictEqual(judge(query, torn, "udp", true)._tag, "Truncated")
  })

  it("SERVFAIL, REFUSED and nonsense under our id are failures that name the cause", () => {
    assert.deepStrictEqual(judge(query, encode({ ...reply, rcode: 2 })!, "udp", true), {
      _tag: "Failed",
      detail: "SERVFAIL",
      mayBeEdns: true
    })
    assert.deepStrictEqual(judge(query, encode({ ...reply, rcode: 5 })!, "udp", true), {
      _tag: "Failed",
      detail: "REFUSED",
      mayBeEdns: true
    })
    assert.deepStrictEqual(judge(query, encode(reply)!.subarray(0, 20), "udp", true), {
      _tag: "Failed",
      detail: "malformed answer (NameTruncated)",
      mayBeEdns: false
    })
  })

  it("FORMERR to EDNS is asked again without, once", () => {
    const refusal = { ...reply, rcode: rcode.FormErr, edns: null }
    assert.strictEqual(verdict(refusal), "NoEdns")
    assert.strictEqual(verdict({ ...refusal, questions: [] }), "NoEdns")
    assert.strictEqual(verdict({ ...refusal, rcode: rcode.NotImp }), "NoEdns")
    assert.strictEqual(verdict(refusal, "udp", false), "Failed")
    assert.strictEqual(verdict({ ...refusal, questions: [] }, "udp", false), "Failed")
    assert.strictEqual(verdict({ ...reply, rcode: rcode.FormErr }), "NoEdns")
  })

  it.prop("any bytes give a verdict; without our id it is foreign", [bytes(80), integer(0, 1)], ([data, ours]) => {
    if (ours === 1 && data.length > 1) data.set([0x12, 0x34])
    const { _tag } = judge(query, data, "udp", true)
    if (data[0] !== 0x12 || data[1] !== 0x34) assert.strictEqual(_tag, "Foreign")
  })
})

describe("reading addresses", () => {
  const addresses = (...answers: ReadonlyArray<ResourceRecord>) =>
    readAddresses("app.corp.test", recordType.A, { ...reply, answers })

  it("collects the asked name's addresses once each, with the smallest TTL", () => {
    assert.deepStrictEqual(
      addresses(
        a("APP.corp.test", "10.0.0.2", 30),
        a("app.corp.test", "10.0.0.1", 20),
        a("app.corp.test", "10.0.0.2", 25),
        a("other.test", "10.0.0.9", 1),
        a("app.corp.test", "fd00::1", 2)
      ),
      { _tag: "Addresses", addresses: ["10.0.0.2", "10.0.0.1"], ttl: 20 }
    )
  })

  it("follows aliases in any order, and their TTLs count", () => {
    assert.deepStrictEqual(
      addresses(
        a("C.test", "10.0.0.1", 50),
        cname("b.test", "c.test", 10),
        cname("app.corp.test", "B.test", 40),
        cname("z.test", "y.test", 1)
      ),
      { _tag: "Addresses", addresses: ["10.0.0.1"], ttl: 10 }
    )
  })

  it("an alias whose end the answer does not know is to be asked for", () => {
    assert.deepStrictEqual(addresses(cname("app.corp.test", "b.test", 40)), {
      _tag: "Alias",
      target: "b.test",
      ttl: 40,
      links: 1
    })
  })

  it("an alias that leaves the server's say is to be asked for: at once, or when it knows no address", () => {
    const read = (message: Message) =>
      readAddresses("app.corp.test", recordType.A, message, {
        isElsewhere: (name) => name.endsWith(".lab"),
        isStranger: (name) => name.endsWith(".net")
      })
    const chain = [cname("app.corp.test", "b.test", 40), cname("b.test", "c.lab", 30)]
    const alias = { _tag: "Alias", target: "c.lab", ttl: 30, links: 2 } as const
    assert.deepStrictEqual(read({ ...reply, answers: [...chain, a("c.lab", "10.6.6.6", 50)] }), alias)
    assert.deepStrictEqual(read({ ...reply, answers: chain, rcode: rcode.NXDomain }), alias)
    const out = cname("app.corp.test", "b.net", 40)
    const known = read({ ...reply, answers: [out, a("b.net", "10.0.0.1", 50)] })
    assert.deepStrictEqual(known, { _tag: "Addresses", addresses: ["10.0.0.1"], ttl: 40 })
    const stranger = { _tag: "Alias", target: "b.net", ttl: 40, links: 1 } as const
    assert.deepStrictEqual(read({ ...reply, answers: [out], rcode: rcode.NXDomain }), stranger)
    assert.deepStrictEqual(read({ ...reply, answers: [out], authorities: [soa("net", 90, 25)] }), stranger)
  })

  it("an alias to a name without addresses is NODATA when the zone says so", () => {
    const message = { ...reply, answers: [cname("app.corp.test", "b.test", 40)], authorities: [soa("test", 90, 25)] }
    assert.deepStrictEqual(readAddresses("app.corp.test", recordType.A, message), { _tag: "NoData", ttl: 25 })
  })

  it("a circle gives the addresses of the name where it begins", () => {
    const own = a("app.corp.test", "10.0.0.1")
    const circles = [
      [cname("app.corp.test", "App.corp.test")],
      [cname("app.corp.test", "b.test"), cname("b.test", "app.corp.test")]
    ]
    for (const circle of circles) {
      const answer = addresses(...circle, own)
      assert.deepStrictEqual(answer._tag === "Addresses" && answer.addresses, ["10.0.0.1"])
    }
  })

  it("a circle and a chain that is too long are unusable; the longest chain is not", () => {
    assert.strictEqual(addresses(cname("app.corp.test", "b.test"), cname("b.test", "app.corp.test"))._tag, "Unusable")
    const chain = (n: number): Array<ResourceRecord> =>
      Array.from({ length: n }, (_, i) => cname(i === 0 ? "app.corp.test" : `n${i}.test`, `n${i + 1}.test`))
    assert.strictEqual(addresses(...chain(maxChain), a(`n${maxChain}.test`, "10.0.0.1"))._tag, "Addresses")
    assert.strictEqual(addresses(...chain(maxChain + 1), a(`n${maxChain + 1}.test`, "10.0.0.1"))._tag, "Unusable")
  })

  it("believes no TTL over a day and no more than 64 addresses", () => {
    assert.deepStrictEqual(addresses(a("app.corp.test", "10.0.0.1", 1_000_000)), {
      _tag: "Addresses",
      addresses: ["10.0.0.1"],
      ttl: maxTtl
    })
    const many = addresses(...Array.from({ length: 100 }, (_, i) => a("app.corp.test", `10.0.0.${i}`)))
    assert.strictEqual(many._tag === "Addresses" ? many.addresses.length : 0, maxAddresses)
  })

  it("NXDOMAIN and NODATA last min(TTL, MINIMUM) of the zone's SOA record, or not at all without one", () => {
    const name = "app.corp.test"
    const nx = { ...reply, rcode: rcode.NXDomain }
    const read = (message: Message) => readAddresses(name, recordType.A, message)
    assert.deepStrictEqual(read({ ...nx, authorities: [soa("corp.test", 60, 15)] }), { _tag: "NameNotFound", ttl: 15 })
    assert.deepStrictEqual(read({ ...nx, authorities: [soa(".", 10, 15)] }), { _tag: "NameNotFound", ttl: 10 })
    assert.deepStrictEqual(read({ ...reply, authorities: [soa("corp.test", 60, 15)] }), { _tag: "NoData", ttl: 15 })
    assert.deepStrictEqual(read(nx), { _tag: "NameNotFound", ttl: 0 })
    assert.deepStrictEqual(read(reply), { _tag: "NoData", ttl: 0 })
    assert.deepInclude(read({ ...nx, authorities: [soa("other.test", 60, 15)] }), { ttl: 0 })
    assert.deepInclude(read({ ...nx, authorities: [soa("test", 0x7fffffff, 0xffffffff)] }), { ttl: maxTtl })
  })

  it("an IPv4 address in an AAAA record is none", () => {
    const record: ResourceRecord = { ...a("app.corp.test", "fd00::1"), data: { _tag: "Address", address: "10.0.0.1" } }
    const message = { ...reply, answers: [record] }
    assert.strictEqual(readAddresses("app.corp.test", recordType.AAAA, message)._tag, "NoData")
  })
})

describe("combining the families", () => {
  const found = (address: string, ttl: number): FamilyOutcome<string> => ({
    _tag: "Addresses",
    addresses: [address],
    ttl
  })
  const gone: FamilyOutcome<string> = { _tag: "NameNotFound", ttl: 9 }
  const none: FamilyOutcome<string> = { _tag: "NoData", ttl: 5 }
  const failure: FamilyOutcome<string> = { _tag: "Failed", failure: "x" }
  const outcomes = [found("10.0.0.1", 30), gone, none, failure]

  it("two families with addresses give both, with the smaller TTL", () => {
    assert.deepStrictEqual(combineFamilies(found("10.0.0.1", 30), found("fd00::1", 20)), {
      _tag: "Addresses",
      addresses: ["10.0.0.1", "fd00::1"],
      ttl: 20
    })
  })

  it("addresses win over all, NXDOMAIN over failures, failures over NODATA, NODATA over NXDOMAIN", () => {
    assert.deepStrictEqual(combineFamilies(found("10.0.0.1", 30), failure), found("10.0.0.1", 30))
    assert.deepStrictEqual(combineFamilies(gone, failure), gone)
    assert.deepStrictEqual(combineFamilies(none, failure), failure)
    assert.deepStrictEqual(combineFamilies(none, gone), { _tag: "NoData", ttl: 5 })
    assert.deepStrictEqual(combineFamilies(gone, { _tag: "NameNotFound", ttl: 3 }), { _tag: "NameNotFound", ttl: 3 })
    assert.deepStrictEqual(combineFamilies(none, { _tag: "NoData", ttl: 3 }), { _tag: "NoData", ttl: 3 })
  })

  it.prop("does not depend on which family said what", [Arbitrary.all([integer(0, 3), integer(0, 3)])], ([[i, j]]) => {
    assert.deepStrictEqual(combineFamilies(outcomes[i]!, outcomes[j]!), combineFamilies(outcomes[j]!, outcomes[i]!))
  })
})
