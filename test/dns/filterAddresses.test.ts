import { assert, describe, it } from "@effect/vitest"
import { filterAddresses } from "../../src/dns/filterAddresses.ts"
import { emptyMessage, type Message, type ResourceRecord } from "../../src/dns/message.ts"
import { recordType } from "../../src/dns/registry.ts"
import { filterHints } from "../../src/dns/serviceHints.ts"
import { concat } from "../../src/packet/bytes.ts"
import { bytes } from "../support/packetArbitraries.ts"

const record = (type: number, data: ResourceRecord["data"]): ResourceRecord => ({
  name: "a.test",
  type,
  class: 1,
  ttl: 1,
  data
})
const keep = (address: string): boolean => !address.startsWith("10.") && !address.startsWith("fd")

describe("filterAddresses", () => {
  it("takes refused addresses out of every section and nothing else; what is left is not validated any more", () => {
    const inside = record(1, { _tag: "Address", address: "10.0.0.1" })
    const outside = record(1, { _tag: "Address", address: "192.0.2.1" })
    const alias = record(5, { _tag: "Name", name: "b.test" })
    const answers = [alias, inside, outside]
    const message = { ...emptyMessage, authenticData: true, answers, additionals: [inside], authorities: [inside] }

    assert.deepStrictEqual(filterAddresses(message, keep), {
      ...message,
      answers: [alias, outside],
      additionals: [],
      authorities: [],
      authenticData: false
    })
    const untouched = { ...message, answers: [alias, outside], additionals: [], authorities: [] }
    assert.strictEqual(filterAddresses(untouched, keep), untouched)
  })

  it("takes refused hints out of HTTPS and SVCB records", () => {
    const safe = service(param(1, 2, 0x68, 0x32))
    const hinted = service(param(1, 2, 0x68, 0x32), param(4, 10, 0, 0, 1), param(5, 9))
    for (const type of [recordType.HTTPS, recordType.SVCB]) {
      const message: Message = { ...emptyMessage, answers: [record(type, { _tag: "Raw", bytes: hinted })] }
      assert.deepStrictEqual(filterAddresses(message, keep).answers, [
        record(type, { _tag: "Raw", bytes: service(param(1, 2, 0x68, 0x32), param(5, 9)) })
      ])
      const fine: Message = { ...emptyMessage, answers: [record(type, { _tag: "Raw", bytes: safe })] }
      assert.strictEqual(filterAddresses(fine, keep), fine)
    }
  })
})

/** Priority 1, target `a.test`, then the parameters. */
const service = (...parameters: ReadonlyArray<Uint8Array>): Uint8Array =>
  concat([Uint8Array.of(0, 1, 1, 0x61, 4, 0x74, 0x65, 0x73, 0x74, 0), ...parameters])

const param = (key: number, ...value: ReadonlyArray<number>): Uint8Array =>
  Uint8Array.of(0, key, 0, value.length, ...value)

describe("filterHints", () => {
  it("lets a hint go as soon as one of its addresses is refused, IPv6 as well", () => {
    const both = param(4, 192, 0, 2, 1, 10, 0, 0, 1)
    const six = param(6, 0xfd, ...Array.from({ length: 15 }, () => 0))
    const good = param(4, 192, 0, 2, 1)
    assert.deepStrictEqual(filterHints(service(both, six), keep), service())
    assert.deepStrictEqual(filterHints(service(good, six), keep), service(good))
  })

  it("leaves nothing of a record that demands a hint which goes, or that is malformed", () => {
    assert.isNull(filterHints(service(param(0, 0, 4), param(4, 10, 0, 0, 1)), keep))
    assert.isNotNull(filterHints(service(param(0, 0, 1), param(4, 10, 0, 0, 1)), keep))
    for (const broken of [
      Uint8Array.of(),
      Uint8Array.of(0, 1),
      Uint8Array.of(0, 1, 1, 0x61),
      Uint8Array.of(0, 1, 0xc0, 0x0c),
      service(param(4, 10, 0, 0, 1).subarray(0, 6))
    ]) {
      assert.isNull(filterHints(broken, keep))
    }
  })

  it.prop(
    "any bytes: what is left is part of what was there, and filtering it again changes nothing",
    [bytes(64)],
    ([data]) => {
      const left = filterHints(data, keep)
      if (left === null) return
      assert.isAtMost(left.length, data.length)
      assert.strictEqual(filterHints(left, keep), left)
    }
  )
})
