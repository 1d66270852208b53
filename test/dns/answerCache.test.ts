import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { AnswerCache, questionKey } from "../../src/dns/answerCache.ts"
import { emptyMessage, type Message, type ResourceRecord } from "../../src/dns/message.ts"
import { rcode, recordType } from "../../src/dns/registry.ts"

const { A, AAAA, CNAME, SOA } = recordType

const record = (type: number, ttl: number, data: ResourceRecord["data"], name = "a.test"): ResourceRecord => ({
  name,
  type,
  class: 1,
  ttl,
  data
})
const address = (ttl: number, name?: string) => record(A, ttl, { _tag: "Address", address: "192.0.2.1" }, name)
const alias = (ttl: number) => record(CNAME, ttl, { _tag: "Name", name: "b.test" })
const soa = (ttl: number, minimum: number): ResourceRecord =>
  record(SOA, ttl, { _tag: "Soa", mname: "m", rname: "r", serial: 1, refresh: 1, retry: 1, expire: 1, minimum }, "test")
const reply = (over: Partial<Message>): Message => ({ ...emptyMessage, response: true, ...over })

const bounds = { maxEntries: 100, maxBytes: 1_000_000 }
const cacheOf = (message: Message, type: number = A) => {
  const cache = new AnswerCache(bounds)
  cache.put("k", type, message, 0)
  return cache
}
/** `ms TTLs` while it is fresh, `stale`, or `-`. */
const ttlsAt = (cache: AnswerCache, now: number): string => {
  const found = cache.find("k", now)
  if (found === undefined || found._tag === "Failed") return "-"
  const { answers, authorities } = found.message
  const ttls = [...answers, ...authorities].map(({ ttl }) => ttl).join(" ")
  return found._tag === "Fresh" ? ttls : `stale ${ttls}`
}
const lifeOf = (message: Message, type?: number): number => {
  const cache = cacheOf(message, type)
  let seconds = 0
  for (let step = 65_536; step >= 1; step /= 2) {
    if (cacheOf(message, type).find("k", (seconds + step) * 1_000 - 1)?._tag === "Fresh") seconds += step
  }
  assert.notStrictEqual(cache.find("k", seconds * 1_000)?._tag, "Fresh")
  return seconds
}

describe("AnswerCache", () => {
  it("serves an answer for its TTL, which counts down in what is served", () => {
    const cache = cacheOf(reply({ answers: [alias(90), address(60, "b.test")] }))
    assert.strictEqual(ttlsAt(cache, 0), "90 60")
    assert.strictEqual(ttlsAt(cache, 999), "90 60")
    assert.strictEqual(ttlsAt(cache, 1_000), "89 59")
    assert.strictEqual(ttlsAt(cache, 59_999), "31 1")
  })

  it("serves what is past its TTL for 30 s more, as stale and for a second, without what was beside it", () => {
    const cache = cacheOf(reply({ answers: [address(60)], additionals: [address(600, "ns.test")] }))
    assert.strictEqual(ttlsAt(cache, 60_000), "stale 1")
    const found = cache.find("k", 89_999)
    assert.deepInclude(found, { _tag: "Stale", failed: false })
    assert.deepStrictEqual(found?._tag === "Stale" && found.message.additionals, [])
    assert.strictEqual(ttlsAt(cache, 90_000), "-")
    assert.deepStrictEqual(cache.usage, { entries: 0, bytes: 0 })
  })

  it("keeps an absence for the SOA record's TTL or MINIMUM, whichever is less, an hour at most", () => {
    const nameError = (authorities: ReadonlyArray<ResourceRecord>) => reply({ rcode: rcode.NXDomain, authorities })
    assert.strictEqual(lifeOf(nameError([soa(60, 20)])), 20)
    assert.strictEqual(lifeOf(nameError([soa(20, 60)])), 20)
    assert.strictEqual(lifeOf(nameError([soa(9_000, 9_000)])), 3_600)
    assert.strictEqual(lifeOf(nameError([soa(60, 0)])), 0)
    assert.strictEqual(lifeOf(nameError([])), 0)
    assert.strictEqual(lifeOf(reply({ authorities: [soa(60, 20)] })), 20)
    // A client goes by min(TTL, MINIMUM) of the record, too.
    assert.strictEqual(ttlsAt(cacheOf(nameError([soa(60, 20)])), 5_000), "15")
  })

  it("takes an alias that leads to nothing of the type for an absence", () => {
    assert.strictEqual(lifeOf(reply({ answers: [alias(60)], authorities: [soa(30, 10)] })), 10)
    assert.strictEqual(lifeOf(reply({ answers: [alias(5)], authorities: [soa(30, 10)] })), 5)
    assert.strictEqual(lifeOf(reply({ answers: [alias(60)] })), 0)
    assert.strictEqual(lifeOf(reply({ answers: [alias(60)] }), CNAME), 60)
  })

  it("keeps nothing that was cut off, failed or must not be kept, and no answer for longer than a day", () => {
    assert.strictEqual(lifeOf(reply({ answers: [address(60)], truncated: true })), 0)
    assert.strictEqual(lifeOf(reply({ answers: [address(60)], rcode: rcode.ServFail })), 0)
    assert.strictEqual(lifeOf(reply({ answers: [address(60), address(0)] })), 0)
    // A referral says nothing about the name.
    assert.strictEqual(lifeOf(reply({ authorities: [record(2, 60, { _tag: "Raw", bytes: Uint8Array.of(0) })] })), 0)
    assert.strictEqual(lifeOf(reply({ answers: [address(2 ** 31 - 1)] })), 86_400)
  })

  it("leaves out what ends before the answer does", () => {
    const cache = cacheOf(reply({ answers: [address(60)], additionals: [address(10, "x"), address(0, "y")] }))
    const names = (now: number) => {
      const found = cache.find("k", now)
      return found?._tag === "Fresh" ? found.message.additionals.map(({ name, ttl }) => `${name} ${ttl}`) : "-"
    }
    assert.deepStrictEqual(names(0), ["x 10"])
    assert.deepStrictEqual(names(9_000), ["x 1"])
    assert.deepStrictEqual(names(10_000), [])
  })

  it("remembers for a second that the servers gave no answer, and serves a stale one meanwhile", () => {
    const error = { code: 13, text: "no" }
    const cache = cacheOf(reply({ answers: [address(60)] }))
    cache.putFailure("k", error, 60_000)
    assert.deepInclude(cache.find("k", 60_999), { _tag: "Stale", failed: true })
    assert.deepInclude(cache.find("k", 61_000), { _tag: "Stale", failed: false })
    cache.putFailure("new", error, 0)
    assert.deepStrictEqual(cache.find("new", 999), { _tag: "Failed", error })
    assert.isUndefined(cache.find("new", 1_000))
    cache.put("k", A, reply({ answers: [address(5)] }), 70_000)
    assert.strictEqual(cache.find("k", 70_000)?._tag, "Fresh")
  })

  it("forgets an answer that is followed by one which must not be kept", () => {
    const cache = cacheOf(reply({ answers: [address(60)] }))
    cache.put("k", A, reply({ rcode: rcode.NXDomain }), 1_000)
    assert.isUndefined(cache.find("k", 1_000))
  })

  it("lets the least recently used go first, by number", () => {
    const cache = new AnswerCache({ ...bounds, maxEntries: 3 })
    const put = (key: string) => cache.put(key, A, reply({ answers: [address(60)] }), 0)
    for (const key of ["a", "b", "c"]) put(key)
    cache.find("a", 1)
    put("d")
    assert.deepStrictEqual(
      ["a", "b", "c", "d"].map((key) => cache.find(key, 1)?._tag),
      ["Fresh", undefined, "Fresh", "Fresh"]
    )
  })

  it("lets some go at a time where it has many, the least recently used ones", () => {
    const cache = new AnswerCache({ maxEntries: 640, maxBytes: 1_000_000 })
    for (let i = 0; i < 2_000; i++) {
      cache.put(`k${i}`, A, reply({ answers: [address(60)] }), 0)
      assert.isAtMost(cache.usage.entries, 640)
      if (i >= 640) assert.isAtLeast(cache.usage.entries, 630)
      assert.isDefined(cache.find("k0", 0), "it is used all the time")
    }
    assert.isDefined(cache.find("k1999", 0))
    assert.isUndefined(cache.find("k1", 0))
  })

  it("is bounded by bytes as well; an answer of enormous size is not kept at all", () => {
    const cache = new AnswerCache({ maxEntries: 1_000, maxBytes: 100_000 })
    const text = (size: number) => reply({ answers: [record(16, 60, { _tag: "Raw", bytes: new Uint8Array(size) })] })
    for (let i = 0; i < 100; i++) {
      cache.put(`k${i}`, 16, text(10_000), 0)
      assert.isAtMost(cache.usage.bytes, 100_000)
    }
    assert.strictEqual(cache.usage.entries, 9)
    cache.put("huge", 16, text(65_000), 0)
    cache.put("huge", 16, text(65_536), 0)
    assert.isUndefined(cache.find("huge", 0))
  })

  it.prop(
    "never serves an answer as fresh beyond its TTL or with more than is left of it, whatever came before",
    [
      Schema.Array(
        Schema.Struct({
          key: Schema.Literals(["a", "b", "c"]),
          ttl: Schema.Literals([0, 1, 2, 30, 60]),
          wait: Schema.Literals([0, 1, 999, 1_000, 1_001, 29_999, 30_000, 60_000])
        })
      )
    ],
    ([steps]) => {
      const cache = new AnswerCache({ maxEntries: 2, maxBytes: 10_000 })
      const model = new Map<string, number>()
      let now = 0
      for (const { key, ttl, wait } of steps) {
        cache.put(key, A, reply({ answers: [address(ttl)] }), now)
        model.set(key, now + ttl * 1_000)
        now += wait
        assert.isAtMost(cache.usage.entries, 2)
        for (const [known, expiresAt] of model) {
          const found = cache.find(known, now)
          if (found === undefined || found._tag === "Failed") continue
          if (found._tag === "Stale") {
            assert.isTrue(now >= expiresAt && now < expiresAt + 30_000)
            continue
          }
          const left = (expiresAt - now) / 1_000
          assert.isTrue(left > 0 && found.message.answers[0]!.ttl === Math.ceil(left))
        }
      }
    }
  )
})

describe("questionKey", () => {
  it("tells apart what servers answer differently", () => {
    const question = { domain: "a.test", type: A }
    const keys = [
      questionKey("system", question),
      questionKey("corp", question),
      questionKey("system", { ...question, type: AAAA }),
      questionKey("system", { ...question, domain: "b.test" }),
      questionKey("system", { ...question, dnssecOk: true }),
      questionKey("system", { ...question, checkingDisabled: true }),
      questionKey("system", { ...question, authenticData: true })
    ]
    assert.strictEqual(new Set(keys).size, keys.length)
    assert.strictEqual(questionKey("system", { ...question, dnssecOk: false }), keys[0])
  })
})
