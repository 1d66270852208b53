import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import dnsPacket from "dns-packet"
import { decode } from "../../src/dns/decode.ts"
import { encode } from "../../src/dns/encode.ts"
import type { Message, ResourceRecord } from "../../src/dns/message.ts"
import { emptyMessage, isMalformed } from "../../src/dns/message.ts"
import { canonicalName, isWithin, labelsOf, parentName, sameName } from "../../src/dns/name.ts"
import { recordType } from "../../src/dns/registry.ts"
import { dnsMessage, domainName, plainName, resourceRecord } from "../support/dnsMessages.ts"
import { byte, bytes, host4, host6, integer } from "../support/packetArbitraries.ts"

const wire = (message: Message): Uint8Array => {
  const written = encode(message)
  assert.isNotNull(written)
  return written
}

const read = (data: Uint8Array): Message => {
  const message = decode(data)
  if (isMalformed(message)) assert.fail(message.reason)
  return message
}

const problemOf = (data: Uint8Array, maxRecords?: number): string => {
  const message = decode(data, maxRecords)
  return isMalformed(message) ? message.reason : "fine"
}

const header = (counts: readonly [number, number, number, number]): Array<number> => [
  0x12,
  0x34,
  0x81,
  0x80,
  ...counts.flatMap((n) => [n >> 8, n & 255])
]

const question = (...name: ReadonlyArray<number>): Uint8Array =>
  Uint8Array.from([...header([1, 0, 0, 0]), ...name, 0, 1, 0, 1])

const answer = (type: number, data: ReadonlyArray<number>, length = data.length, owner = [0]): Uint8Array =>
  Uint8Array.from([...header([0, 1, 0, 0]), ...owner, 0, type, 0, 1, 0, 0, 0, 9, length >> 8, length & 255, ...data])

const runs = { arbitrary: { runs: 300 } }

describe("DNS codec", () => {
  it.prop(
    "what is written is read back",
    [dnsMessage],
    ([message]) => {
      assert.deepStrictEqual(decode(wire(message)), message)
    },
    runs
  )

  it.prop(
    "any bytes give a value",
    [bytes(300)],
    ([data]) => {
      const message = decode(data)
      if (!isMalformed(message)) assert.isNotNull(encode(message))
    },
    runs
  )

  it.prop(
    "a damaged message gives a value, and what is still read can be written",
    [
      dnsMessage,
      Arbitrary.array(Arbitrary.all([integer(0, 2000), byte]), { minLength: 1, maxLength: 4 }),
      integer(0, 60)
    ],
    ([message, damage, cut]) => {
      const data = wire(message)
      for (const [at, value] of damage) data[at % data.length] = value
      const message2 = decode(data.subarray(0, data.length - Math.max(0, cut - 30)))
      if (!isMalformed(message2)) assert.isNotNull(encode(message2))
    },
    runs
  )

  it.prop(
    "every cut of a message is malformed",
    [dnsMessage, integer(1, 4000)],
    ([message, cut]) => {
      const data = wire(message)
      assert.isTrue(isMalformed(decode(data.subarray(0, data.length - 1 - (cut % data.length)))))
    },
    runs
  )

  it.prop(
    "dns-packet reads the same out of what we write",
    [Arbitrary.array(resourceRecord(plainName, 4), { maxLength: 6 }), plainName, integer(0, 0xffff)],
    ([answers, name, id]) => {
      const message = { ...emptyMessage, id, response: true, questions: [{ name, type: 28, class: 1 }], answers }

      const seen = dnsPacket.decode(Buffer.from(wire(message)))

      assert.strictEqual(seen.id, id)
      assert.deepStrictEqual(seen.questions, [{ name, type: "AAAA", class: "IN" }])
      assert.deepStrictEqual(seen.answers?.map(withoutFlush), answers.map(asDnsPacket))
    },
    runs
  )

  it.prop(
    "what dns-packet writes is read as it was meant",
    [Arbitrary.array(resourceRecord(plainName, 4), { maxLength: 6 }), plainName, integer(0, 0xffff)],
    ([answers, name, id]) => {
      const data = dnsPacket.encode({
        type: "response",
        id,
        flags: dnsPacket.RECURSION_DESIRED,
        questions: [{ name, type: "A", class: "IN" }],
        // oxlint-disable-next-line no-unsafe-type-assertion -- the type is one of dns-packet's names
        answers: answers.map(asDnsPacket) as Array<dnsPacket.Answer>
      })

      const message = read(data)

      assert.deepStrictEqual(message.questions, [{ name, type: 1, class: 1 }])
      assert.isTrue(message.response && message.recursionDesired)
      assert.deepStrictEqual(message.answers, answers)
    },
    runs
  )

  it("names that were written before become pointers", () => {
    const records = ["a.corp.test", "b.corp.test", "corp.test", "a.corp.test"].map((name): ResourceRecord => ({
      name,
      type: 1,
      class: 1,
      ttl: 0,
      data: { _tag: "Address", address: "10.0.0.1" }
    }))

    const data = wire({ ...emptyMessage, answers: records })

    // 13 bytes spelled out once; then "b" + pointer, pointer, pointer. 14 bytes per record beside its name.
    assert.strictEqual(data.length, 12 + 13 + 4 + 2 + 2 + 4 * 14)
    assert.deepStrictEqual(
      read(data).answers.map((r) => r.name),
      records.map((r) => r.name)
    )
  })

  it("a thousand long names of a hostile answer cost no more to write than to read", () => {
    const tail = Array.from({ length: 120 }, () => "a").join(".")
    const records = Array.from({ length: 1_000 }, (_, i): ResourceRecord => ({
      name: `n${i}.${tail}`,
      type: 12,
      class: 1,
      ttl: 0,
      data: { _tag: "Name", name: `t${i}.${tail}` }
    }))
    const message = { ...emptyMessage, answers: records }
    const times = Array.from({ length: 5 }, () => {
      const started = performance.now()
      wire(message)
      return performance.now() - started
    })

    assert.isBelow(Math.min(...times), 40)
  })

  it("what is written is as if nothing had been written before: long, broken or short", () => {
    const answers = Array.from({ length: 6_000 }, () => ({
      name: "long.example",
      type: recordType.TXT,
      class: 1,
      ttl: 1,
      data: { _tag: "Raw", bytes: new Uint8Array(40).fill(0xff) } as const
    }))
    const small: Message = { ...emptyMessage, questions: [{ name: "a.example", type: 1, class: 1 }] }
    const first = encode(small)
    const fitting = encode({ ...emptyMessage, answers: answers.slice(0, 1_000) })!
    const copy = fitting.slice()
    assert.isNull(encode({ ...emptyMessage, answers }))
    assert.isNull(encode({ ...small, questions: [{ name: "no..name", type: 1, class: 1 }] }))
    assert.deepStrictEqual(encode(small), first)
    assert.deepStrictEqual(fitting, copy)
  })

  it("a query for a name looks as in RFC 1035 §4", () => {
    const data = wire({
      ...emptyMessage,
      id: 0xabcd,
      recursionDesired: true,
      questions: [{ name: "F.ISI.arpa", type: recordType.AAAA, class: 1 }],
      edns: { udpPayloadSize: 1232, version: 0, dnssecOk: false, options: [] }
    })

    assert.strictEqual(
      Buffer.from(data).toString("hex"),
      "abcd01000001000000000001014603495349046172706100001c000100002904d0000000000000"
    )
  })

  it("names inside RDATA that may be compressed are written out, so that the record stands in any message", () => {
    // Owner "mx.test" at 12; MX 10 with exchange "a" + pointer to "test" at 15.
    const owner = [2, 0x6d, 0x78, 4, 0x74, 0x65, 0x73, 0x74, 0]
    const message = read(answer(recordType.MX, [0, 10, 1, 0x61, 0xc0, 15], 6, owner))

    assert.deepStrictEqual(message.answers[0]?.data, {
      _tag: "Raw",
      bytes: Uint8Array.of(0, 10, 1, 0x61, 4, 0x74, 0x65, 0x73, 0x74, 0)
    })
  })

  it("names far into a large message are read back: no pointer reaches beyond 16 KiB", () => {
    const answers = Array.from({ length: 900 }, (_, i): ResourceRecord => ({
      name: `host-number-${i >> 1}-of-many.some.zone-${i >> 4}.test`,
      type: 1,
      class: 1,
      ttl: i,
      data: { _tag: "Address", address: `10.0.${i >> 8}.${i & 255}` }
    }))
    const data = wire({ ...emptyMessage, answers })
    assert.isAbove(data.length, 0x4000 + 8000)
    assert.deepStrictEqual(read(data).answers, answers)
  })

  it("an extended rcode needs EDNS", () => {
    const bad = { ...emptyMessage, rcode: 16 }
    assert.isNull(encode(bad))
    const edns = { udpPayloadSize: 512, version: 0, dnssecOk: false, options: [] }
    assert.strictEqual(read(wire({ ...bad, edns })).rcode, 16)
  })

  it("a TTL with the top bit set is 0 (RFC 2181 §8)", () => {
    const data = answer(1, [10, 0, 0, 1])
    data[12 + 1 + 4] = 0x80
    assert.strictEqual(read(data).answers[0]?.ttl, 0)
  })

  it.prop("addresses are written only into records of their family", [host4, host6], ([v4, v6]) => {
    const record = (type: number, address: string): Message => ({
      ...emptyMessage,
      answers: [{ name: "a.test", type, class: 1, ttl: 0, data: { _tag: "Address", address } }]
    })
    assert.isNull(encode(record(recordType.A, v6)))
    assert.isNull(encode(record(recordType.TXT, v4)))
    assert.isNotNull(encode(record(recordType.A, v4)))
    assert.isNotNull(encode(record(recordType.AAAA, v6)))
  })
})

describe("DNS codec, large", () => {
  it("a name's thousands of addresses are read as far as 64 KiB hold them", () => {
    const most: Message = {
      ...emptyMessage,
      response: true,
      questions: [{ name: "a.test", type: recordType.A, class: 1 }],
      answers: Array.from({ length: 4_094 }, (_, n) => ({
        name: "a.test",
        type: recordType.A,
        class: 1,
        ttl: 1,
        data: { _tag: "Address", address: `10.1.${n >> 8}.${n & 255}` } as const
      }))
    }
    const bytes = encode(most)
    assert.isNotNull(bytes)
    assert.isAbove(bytes.length, 65_500)
    assert.deepStrictEqual(decode(bytes), most)
  })
})

describe("DNS codec, malformed", () => {
  const label63 = [63, ...Array.from({ length: 63 }, () => 0x61)]

  it("counts that the bytes do not fill", () => {
    assert.strictEqual(problemOf(new Uint8Array(11)), "HeaderTruncated")
    assert.strictEqual(problemOf(Uint8Array.from(header([1, 0, 0, 0]))), "NameTruncated")
    assert.strictEqual(problemOf(Uint8Array.from([...header([1, 0, 0, 0]), 0, 0, 1, 0])), "RecordTruncated")
    assert.strictEqual(problemOf(Uint8Array.from(header([0xffff, 0xffff, 0, 0]))), "TooManyRecords")
    assert.strictEqual(
      problemOf(Uint8Array.from([...header([2, 0, 0, 0]), 0, 0, 1, 0, 1, 0, 0, 1, 0, 1]), 1),
      "TooManyRecords"
    )
    assert.strictEqual(problemOf(Uint8Array.from([...question(0), 0])), "TrailingBytes")
  })

  it("names over 255 bytes; exactly 255 is fine", () => {
    const long = [...label63, ...label63, ...label63]
    assert.strictEqual(problemOf(question(...long, 61, ...label63.slice(1, 62), 0)), "fine")
    assert.strictEqual(problemOf(question(...long, 62, ...label63.slice(1, 63), 0)), "NameTooLong")
  })

  it("label types that RFC 6891 retired", () => {
    assert.strictEqual(problemOf(question(0x40, 0)), "BadLabelType")
    assert.strictEqual(problemOf(question(0x80, 0)), "BadLabelType")
  })

  it("pointers to themselves, forwards, in a circle or into the header", () => {
    assert.strictEqual(problemOf(question(0xc0, 12)), "BadPointer")
    assert.strictEqual(problemOf(question(1, 0x61, 0xc0, 12)), "BadPointer")
    assert.strictEqual(problemOf(question(0xc0, 14, 0)), "BadPointer")
    assert.strictEqual(problemOf(question(0xc0, 5)), "BadPointer")
    // The owner leads into the question's name, which leads back to the owner.
    const circle = [...header([1, 1, 0, 0]), 1, 0x61, 0xc0, 18, 0, 1, 0, 1, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0]
    assert.strictEqual(problemOf(Uint8Array.from(circle)), "BadPointer")
  })

  it("a chain of pointers that only grows is bounded by the name's length", () => {
    // Each name is one label and a pointer to the one before: legal until 255 bytes.
    const data = header([200, 0, 0, 0])
    for (let i = 0; i < 200; i++) {
      const previous = data.length - 7 - (i === 1 ? 0 : 1)
      data.push(1, 0x61, ...(i === 0 ? [0] : [0xc0 | (previous >> 8), previous & 255]), 0, 1, 0, 1)
    }
    assert.strictEqual(problemOf(Uint8Array.from(data)), "NameTooLong")
  })

  it("more than 127 pointers in a row, though each leads back", () => {
    const chain = (n: number): string => {
      // The first record's opaque data is a root label and n - 1 pointers, each to the one before.
      const data = [0]
      for (let i = 1; i < n; i++) data.push(...pointer(23 + (i === 1 ? 0 : 2 * i - 3)))
      const last = 23 + (n === 1 ? 0 : 2 * n - 3)
      const first = [0, 0, 16, 0, 1, 0, 0, 0, 0, data.length >> 8, data.length & 255, ...data]
      return problemOf(
        Uint8Array.from([...header([0, 2, 0, 0]), ...first, ...pointer(last), 0, 16, 0, 1, 0, 0, 0, 0, 0, 0])
      )
    }
    const pointer = (to: number): Array<number> => [0xc0 | (to >> 8), to & 255]
    assert.strictEqual(chain(127), "fine")
    assert.strictEqual(chain(128), "BadPointer")
  })

  it("RDATA of the wrong length", () => {
    assert.strictEqual(problemOf(answer(1, [10, 0, 0])), "BadRecordData")
    assert.strictEqual(problemOf(answer(1, [10, 0, 0, 1, 0])), "BadRecordData")
    assert.strictEqual(problemOf(answer(28, [10, 0, 0, 1])), "BadRecordData")
    assert.strictEqual(problemOf(answer(5, [1, 0x61, 0, 0])), "BadRecordData")
    assert.strictEqual(problemOf(answer(15, [0, 1, 1, 0x61, 0], 4)), "BadRecordData")
    assert.strictEqual(problemOf(answer(1, [10, 0, 0, 1], 5)), "RecordTruncated")
  })

  it("EDNS twice, outside of the additional section, under a name, or with torn options", () => {
    const opt = [0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0]
    const at = (counts: readonly [number, number, number, number], ...data: ReadonlyArray<number>): string =>
      problemOf(Uint8Array.from([...header(counts), ...data]))
    assert.strictEqual(at([0, 0, 0, 1], ...opt), "fine")
    assert.strictEqual(at([0, 0, 0, 2], ...opt, ...opt), "BadEdns")
    assert.strictEqual(at([0, 1, 0, 0], ...opt), "BadEdns")
    assert.strictEqual(at([0, 0, 0, 1], 1, 0x61, ...opt), "BadEdns")
    assert.strictEqual(at([0, 0, 0, 1], ...opt.slice(0, 10), 4, 0, 10, 0, 1), "BadEdns")
  })
})

describe("DNS names", () => {
  it("texts that are no names are refused", () => {
    for (const text of ["a..b", ".a", "a b", "ä.test", "a\\", "a\\999", "x".repeat(64), `${"a.".repeat(127)}ab`]) {
      assert.isNull(labelsOf(text), text)
    }
    assert.strictEqual(labelsOf("a.b.")?.length, 2)
    assert.strictEqual(labelsOf(".")?.length, 0)
    assert.strictEqual(labelsOf(`${"a.".repeat(126)}a`)?.length, 127)
  })

  it.prop(
    "a name is within itself and all of its parents, whatever the case",
    [domainName],
    ([name]) => {
      for (let zone = name; ; zone = parentName(zone)) {
        assert.isTrue(isWithin(name, zone.toUpperCase()))
        if (zone === ".") break
      }
      assert.isFalse(isWithin(name, `below.${name}`))
    },
    runs
  )

  it("a dot inside a label divides nothing", () => {
    assert.isFalse(isWithin("a\\.corp.test", "corp.test"))
    assert.strictEqual(parentName("a\\.b.test"), "test")
    assert.strictEqual(canonicalName("A\\."), "a\\.")
    assert.strictEqual(canonicalName("A.B."), "a.b")
    assert.isTrue(sameName("A.b.", "a.B"))
    assert.isFalse(sameName("a.b", "a\\.b"))
  })
})

const withoutFlush = (record: object): object => ({ ...record, flush: undefined })

const typeNames: Readonly<Record<number, string>> = { 1: "A", 28: "AAAA", 5: "CNAME", 12: "PTR", 6: "SOA" }

const asDnsPacket = ({ data, name, ttl, type }: ResourceRecord): object => {
  const common = { name, type: typeNames[type], ttl, class: "IN", flush: undefined }
  switch (data._tag) {
    case "Address":
      return { ...common, data: data.address }
    case "Name":
      return { ...common, data: data.name }
    case "Soa": {
      const { _tag, ...rest } = data
      return { ...common, data: rest }
    }
    case "Raw":
  }
  return { ...common, data: Buffer.from(data.bytes) }
}
