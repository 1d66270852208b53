import { assert, describe, it } from "@effect/vitest"
import { decode } from "../../src/dns/decode.ts"
import { randomCase, restoreCase } from "../../src/dns/dns0x20.ts"
import { encode } from "../../src/dns/encode.ts"
import { emptyMessage, isMalformed } from "../../src/dns/message.ts"
import { encodeQuery } from "../../src/dns/query.ts"
import { domainName } from "../support/dnsMessages.ts"
import { bytes } from "../support/packetArbitraries.ts"

const plain = encodeQuery({ id: 7, domain: "gitlab-1.Corp.internal", type: 1 }, true)!
const cased = randomCase(plain, Uint8Array.of(0b10101010))
const nameOf = (message: Uint8Array): string => {
  const read = decode(message)
  return isMalformed(read) ? read.reason : read.questions[0]!.name
}

/** An answer to `cased` with an alias that points into the question's name. */
const answer = (question: string): Uint8Array =>
  encode({
    ...emptyMessage,
    id: 7,
    response: true,
    questions: [{ name: question, type: 1, class: 1 }],
    answers: [{ name: question, type: 5, class: 1, ttl: 5, data: { _tag: "Name", name: `web.${question.slice(9)}` } }]
  })!

describe("0x20", () => {
  it("changes letters of the question's name only, each by a bit of its own", () => {
    assert.strictEqual(nameOf(cased), "GiTlAb-1.CoRp.InTeRnAl")
    const name = plain.length - 11 - 4
    assert.deepStrictEqual([...cased.subarray(name)], [...plain.subarray(name)])
    assert.deepStrictEqual([...cased.subarray(0, 12)], [...plain.subarray(0, 12)])
  })

  it("an answer that keeps it gets the asker's case back, in its question and in all that points there", () => {
    const kept = answer("GiTlAb-1.CoRp.InTeRnAl")
    assert.strictEqual(restoreCase(cased, plain, kept), "Kept")
    const read = decode(kept)
    assert.isTrue(!isMalformed(read))
    if (isMalformed(read)) return
    assert.strictEqual(read.answers[0]!.name, "gitlab-1.Corp.internal")
    assert.deepStrictEqual(read.answers[0]!.data, { _tag: "Name", name: "web.Corp.internal" })
  })

  it("another case is told from another name and from no question", () => {
    assert.strictEqual(restoreCase(cased, plain, answer("gitlab-1.corp.internal")), "Changed")
    assert.strictEqual(restoreCase(cased, plain, answer("gitlab-2.corp.internal")), "Other")
    // `-` and CR differ in the same bit as letters do.
    const near = answer("GiTlAb-1.CoRp.InTeRnAl")
    near[19] = 0x0d
    assert.strictEqual(restoreCase(cased, plain, near), "Other")
    const bare = encode({ ...emptyMessage, id: 7, response: true, rcode: 1 })!
    assert.strictEqual(restoreCase(cased, plain, bare), "Other")
  })

  it.prop("any name is sent as itself, and any answer leaves a value", [domainName, bytes(64), bytes(80)], (drawn) => {
    const [domain, random, any] = drawn
    const query = encodeQuery({ id: 1, domain, type: 1 }, false)!
    const sent = randomCase(query, random.length === 0 ? Uint8Array.of(0) : random)
    assert.strictEqual(nameOf(sent).toLowerCase(), nameOf(query).toLowerCase())
    restoreCase(sent, query, any)
    const back = sent.slice()
    assert.strictEqual(restoreCase(sent, query, back), "Kept")
    assert.deepStrictEqual(back, query)
  })
})
