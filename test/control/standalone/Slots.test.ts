import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { maxNames, type NameEntry } from "../../../src/control/standalone/nameTable.ts"
import { proxyIpsOf, slotOf } from "../../../src/control/standalone/proxyPool.ts"
import { isDue, type Named, Slots } from "../../../src/control/standalone/Slots.ts"
import { ownSpans, type SlotSource, wholeRanges } from "../../../src/control/standalone/slotSource.ts"
import type { StoredMapping } from "../../../src/host/StateStore.ts"
import { ResourceId } from "../../../src/model/Resource.ts"
import { defaultRanges } from "../../../src/model/defaultRanges.ts"
import { parseNetwork } from "../../../src/packet/address.ts"
import { slotZones } from "../../../src/shared/slotZones.ts"
import { client } from "../../support/access.ts"

const me = client(0).id
const app = ResourceId.make("app")
const hour = 3_600_000
const day = 24 * hour
const standard = { proxy4: parseNetwork(defaultRanges.proxy4)!, proxy6: parseNetwork(defaultRanges.proxy6)! }
/** 63 slots. */
const small = { proxy4: parseNetwork("10.9.0.0/24")!, proxy6: parseNetwork(defaultRanges.proxy6)! }

/** What a state store does with one client's slots, as far as they can tell. */
class Store {
  readonly rows = new Map<string, StoredMapping>()
  readonly rested = new Map<number, number>()
  next = 0
  failing = false

  reserve(count: number): number {
    const first = this.next
    this.next += count
    return first
  }

  takeRested(before: number): number | null {
    const [oldest] = [...this.rested].toSorted((a, b) => a[1] - b[1] || a[0] - b[0])
    if (oldest === undefined || oldest[1] > before) return null
    this.rested.delete(oldest[0])
    return oldest[0]
  }

  put(row: StoredMapping): void {
    this.rows.set(row.domain, row)
  }

  release(row: StoredMapping, now: number): void {
    if (this.rows.delete(row.domain)) this.rested.set(row.slot, now)
  }
}

/** As the layer does it; what became of the name, `undefined` when the ranges are used up. */
const assign = (
  slots: Slots,
  store: Store,
  domain: string,
  now: number,
  random = 0
): (Named & { readonly write: boolean }) | undefined => {
  for (;;) {
    const step = slots.assign(app, domain, now)
    if (step._tag !== "Named" && store.failing) return keep(slots.assignVolatile(app, domain, now, random))
    if (step._tag === "Named") return keep(step)
    if (step._tag === "Reserve") slots.reserved(store.reserve(step.count), step.count)
    if (step._tag === "TakeRested") {
      const slot = store.takeRested(step.before)
      if (slot === null) return undefined
      slots.rested(slot)
    }
  }
  function keep(named: Named | undefined) {
    if (named === undefined) return undefined
    const due = isDue(named.entry, now)
    if (store.failing) return { ...named, write: due }
    if (named.released !== undefined) store.release(slots.rowsOf(named.released)[0]!, now)
    if (due) write(slots, store, named.entry, now)
    return { ...named, write: due }
  }
}

const write = (slots: Slots, store: Store, entry: NameEntry, now: number): void => {
  store.put(slots.rowsOf(entry)[0]!)
  entry.storedAt = now
}

const restored = (store: Store, ranges: typeof standard, limit?: number, source?: SlotSource): Slots => {
  const slots = new Slots(me, ranges, limit, source)
  for (const row of [...store.rows.values()].toSorted((a, b) => a.lastUsedAt - b.lastUsedAt)) slots.restore(row)
  return slots
}

describe("the slots of a client's names", () => {
  /** The durable writes that so many new names cost. */
  const reservations = (slots: Slots, store: Store, names: number): ReadonlyArray<number> => {
    const counts: Array<number> = []
    const reserve = (count: number) => {
      counts.push(count)
      slots.reserved(store.reserve(count), count)
    }
    reserve(slots.firstReservation)
    for (let n = 1; n <= names; n++) {
      const step = slots.assign(app, `n${n}.corp`, 0)
      if (step._tag === "Reserve") reserve(step.count)
      assert.notStrictEqual(slots.assign(app, `n${n}.corp`, 0)._tag, "Reserve")
    }
    return counts
  }

  it("are reserved in blocks, as many again as it has had: five durable writes for the first hundred names", () => {
    assert.deepStrictEqual(reservations(new Slots(me, standard), new Store(), 100), [8, 8, 16, 32, 64])
    const store = new Store()
    store.next = 1_000
    assert.deepStrictEqual(reservations(new Slots(me, standard), store, 100), [8, 64, 64])
  })

  it("are as few writes in a site, whose gateways have less to give each, and never more than that", () => {
    const zones = Result.getOrThrow(slotZones(524_288))
    const source = ownSpans([zones.own(0, 0), zones.block(0)])
    assert.deepStrictEqual(
      reservations(new Slots(me, standard, maxNames, source), new Store(), 100),
      [8, 8, 16, 32, 48]
    )
    const store = new Store()
    store.next = source.size(0) - 20
    const counts = reservations(new Slots(me, standard, maxNames, source), store, 20)
    assert.deepStrictEqual(counts, [8, 12])
  })

  it("come in blocks of one where the range is small: what is left of a block at a restart is lost", () => {
    const slots = new Slots(me, small)
    assert.strictEqual(slots.firstReservation, 1)
    assert.deepStrictEqual(slots.assign(app, "git.corp", 0), { _tag: "Reserve", count: 1 })
  })

  it("stay with their names: one row to write at first, and again after an hour of use", () => {
    const slots = new Slots(me, standard)
    const store = new Store()
    const first = assign(slots, store, "git.corp", 0)
    assert.deepInclude(first, { write: true, released: undefined })
    assert.deepStrictEqual(
      [1, hour - 1, hour, hour + 1].map((now) => assign(slots, store, "git.corp", now)?.write),
      [false, false, true, false]
    )
    assert.strictEqual(assign(slots, store, "git.corp", 0)?.entry, first?.entry)
    assert.strictEqual(slots.ofSlot(slotOf(first!.entry.proxyIps[7]!, standard)), first?.entry)
  })

  it("are those of 4,096 names; the next one puts out the least recently used, which is not found any more", () => {
    const slots = new Slots(me, standard)
    const store = new Store()
    const all = Array.from({ length: maxNames }, (_, n) => assign(slots, store, `n${n}.corp`, n)!)
    assert.isTrue(all.every(({ released }) => released === undefined))
    assign(slots, store, "n0.corp", 5_000)
    slots.inUse([all[1]!.entry.id], 5_001)
    const next = assign(slots, store, "next.corp", 5_002)
    assert.strictEqual(next?.released, all[2]?.entry)
    assert.isUndefined(slots.ofSlot(all[2]!.entry.slot))
    assert.strictEqual(store.rows.size, maxNames)
  })

  it("that are seen in use are written down 32 at a time, each once an hour; strangers are none", () => {
    const slots = new Slots(me, standard)
    const store = new Store()
    const ids = Array.from({ length: 40 }, (_, n) => assign(slots, store, `n${n}.corp`, 0)!.entry.id)
    const writes = (now: number) => {
      const due = slots.inUse(ids, now)
      for (const entry of due) write(slots, store, entry, now)
      return due.length
    }
    assert.deepStrictEqual([hour - 1, hour, hour, hour].map(writes), [0, 32, 8, 0])
    assert.lengthOf(new Slots(me, standard).inUse(ids, hour), 0)
  })

  it("come back when all others are used up, after 24 hours of rest", () => {
    const slots = new Slots(me, small, 8)
    const store = new Store()
    for (let n = 0; n < 63; n++) assert.isDefined(assign(slots, store, `n${n}.corp`, 0))
    assert.isUndefined(assign(slots, store, "more.corp", day - 1))
    assert.strictEqual(assign(slots, store, "more.corp", day)?.entry.slot, 1)
  })

  it("come from the last quarter while none can be reserved, and are none when that is full", () => {
    const store = new Store()
    store.failing = true
    for (const random of [0, 0.5, 1 - Number.EPSILON]) {
      const slots = new Slots(me, small)
      const given = Array.from({ length: 16 }, (_, n) => assign(slots, store, `n${n}.corp`, 0, random)?.entry.slot)
      assert.deepStrictEqual(
        given.toSorted((a, b) => a! - b!),
        Array.from({ length: 16 }, (_, n) => 48 + n)
      )
      assert.isUndefined(assign(slots, store, "more.corp", 0, random))
    }
  })

  it("are restored in the order of use, and written again an hour after the last time", () => {
    const store = new Store()
    const lived = new Slots(me, standard, 8)
    for (let n = 8; n > 0; n--) assign(lived, store, `n${n}.corp`, 10 - n)
    const slots = restored(store, standard, 8)
    assert.isFalse(assign(slots, store, "n8.corp", 2 + hour - 1)?.write)
    assert.isTrue(assign(slots, store, "n8.corp", 2 + hour)?.write)
    assert.strictEqual(assign(slots, store, "next.corp", 2 + hour)?.released?.domain, "n7.corp")
  })

  it("outside of the ranges are not restored", () => {
    const slots = new Slots(me, small)
    const row = (slot: number) => ({ client: me, resource: app, domain: "git.corp", slot, lastUsedAt: 0 })
    for (const slot of [-1, 0, 64]) assert.isUndefined(slots.restore(row(slot)))
    assert.deepInclude(slots.restore(row(63))?.entry, { domain: "git.corp", slot: 63 })
  })
})

describe("the slots of a client's names where other gateways give some, too", () => {
  const row = (domain: string, slot: number, lastUsedAt = 0): StoredMapping => ({
    client: me,
    resource: app,
    domain,
    slot,
    lastUsedAt
  })
  const ips = (...slots: ReadonlyArray<number>) => slots.flatMap((slot) => proxyIpsOf(slot, standard)!)
  /** Gives the slots from 100 on, and has `git.corp` at 7 in its directory once that is read. */
  const shared = (directory: ReadonlyMap<string, number> = new Map()) => {
    const slots = new Slots(me, standard, 8, {
      site: 0,
      siteOf: () => 0,
      size: () => 10,
      slotAt: (n) => 100 + n,
      atOnce: () => 10,
      exact: (domain) => directory.get(domain),
      restedBefore: (now) => now - 2 * day
    })
    slots.reserved(0, 10)
    return slots
  }
  const told = (slots: Slots, domain: string) => {
    const step = slots.assign(app, domain, 1)
    assert(step._tag === "Named")
    return step.entry
  }

  it("are what the site has for the name, so that none is given to one that has one", () => {
    const slots = shared()
    slots.learn(row("git.corp", 40))
    assert.deepInclude(told(slots, "git.corp"), { slot: 40, proxyIps: ips(40), translated: ips(40) })
    assert.strictEqual(told(slots, "wiki.corp").slot, 100)
  })

  it("are several for a name that two have given one: the client is told the lowest, and all stand for the name", () => {
    const slots = shared()
    const entry = told(slots, "git.corp")
    for (const again of [1, 2]) assert.deepInclude(slots.learn(row("git.corp", 40, again)), { _tag: "Named", entry })
    slots.learn(row("git.corp", 120))
    assert.deepInclude(told(slots, "git.corp"), { slot: 40, proxyIps: ips(40), translated: ips(40, 100, 120) })
    for (const slot of [100, 40, 120]) assert.strictEqual(slots.ofSlot(slot), entry)
    assert.deepStrictEqual(
      slots.rowsOf(entry).map((own) => own.slot),
      [40, 100, 120]
    )
  })

  it("leave one by one, and the name with the last of them", () => {
    const slots = shared()
    const entry = told(slots, "git.corp")
    for (const slot of [120, 40]) slots.learn(row("git.corp", slot))
    assert.strictEqual(slots.forget(40), entry)
    assert.deepInclude(told(slots, "git.corp"), { slot: 100, translated: ips(100, 120) })
    assert.isUndefined(slots.ofSlot(40))
    for (const slot of [100, 120]) slots.forget(slot)
    assert.isUndefined(slots.find("git.corp"))
    assert.isUndefined(slots.forget(120))
  })

  it("all leave with a name that makes room", () => {
    const slots = shared()
    const first = told(slots, "git.corp")
    slots.learn(row("git.corp", 40))
    const all = Array.from({ length: 8 }, (_, n) => slots.assign(app, `n${n}.corp`, 2))
    assert.deepInclude(all.at(-1), { _tag: "Named", released: first })
    for (const slot of [100, 40]) assert.isUndefined(slots.ofSlot(slot))
  })

  it("are the directory's for exact names, also for one that was told another before, which goes on to stand for it", () => {
    const directory = new Map<string, number>()
    const slots = shared(directory)
    const entry = told(slots, "git.corp")
    assert.isFalse(slots.isOutdated(entry))
    directory.set("git.corp", 7).set("wiki.corp", 8)
    assert.isTrue(slots.isOutdated(entry))
    slots.learn(row("git.corp", 3))
    assert.deepInclude(told(slots, "git.corp"), { slot: 7, proxyIps: ips(7), translated: ips(3, 7, 100) })
    assert.isFalse(slots.isOutdated(entry))
    assert.deepInclude(told(slots, "wiki.corp"), { slot: 8, translated: ips(8) })
  })

  it("are the directory's where another gateway told it before, but none that stands for another name here", () => {
    const directory = new Map([["wiki.corp", 100]])
    const slots = shared(directory)
    told(slots, "git.corp")
    slots.learn(row("git.corp", 7))
    directory.set("git.corp", 7)
    assert.deepInclude(told(slots, "git.corp"), { slot: 7, others: [100] })
    for (const again of [1, 2]) assert.strictEqual(told(slots, "wiki.corp").slot, 101, `${again}`)
    assert.isFalse(slots.isOutdated(told(slots, "wiki.corp")))
  })

  it("are eight of a name at most", () => {
    const slots = shared()
    for (let slot = 40; slot < 50; slot++) slots.learn(row("git.corp", slot))
    assert.lengthOf(told(slots, "git.corp").translated, 64)
  })

  it("change nothing where one stands for another name here: that is told", () => {
    const slots = shared()
    const holder = told(slots, "git.corp")
    assert.deepStrictEqual(slots.learn(row("wiki.corp", 100)), { _tag: "Contradicted", holder })
    assert.strictEqual(slots.ofSlot(100), holder)
    assert.isUndefined(slots.find("wiki.corp"))
  })

  it("outside of the ranges are not learnt", () => {
    const slots = shared()
    told(slots, "git.corp")
    for (const domain of ["git.corp", "wiki.corp"]) assert.isUndefined(slots.learn(row(domain, 2 ** 20)))
  })

  it("make names used by what other gateways saw of them, too", () => {
    const slots = shared()
    const names = Array.from({ length: 8 }, (_, n) => told(slots, `n${n}.corp`))
    slots.learn(row("n0.corp", names[0]!.slot, 5))
    slots.learn(row("n1.corp", names[1]!.slot, 0))
    assert.deepInclude(slots.assign(app, "next.corp", 6), { released: names[1] })
  })
})

/** More names than the limit of eight, so that they put each other out; more births than the 63 slots. */
const Name = Schema.Literals(Array.from({ length: 24 }, (_, n) => `n${n}.corp`))
const Advance = Schema.TaggedStruct("Advance", {
  ms: Schema.Literals([1, hour - 1, hour, day - 1, day])
})
const Ask = Schema.TaggedStruct("Ask", { domain: Name })
/** So many new names at a time that the ranges end soon. */
const Crowd = Schema.TaggedStruct("Crowd", { count: Schema.Literals([7, 8, 9, 60]) })
const InUse = Schema.TaggedStruct("InUse", { domain: Name })
const Restart = Schema.TaggedStruct("Restart", {})
const Disk = Schema.TaggedStruct("Disk", { failing: Schema.Boolean })
type Step = (typeof Advance | typeof Ask | typeof Crowd | typeof InUse | typeof Restart | typeof Disk)["Type"]

/** Lives through the steps and looks after each whom every address stands for. */
const live = (steps: ReadonlyArray<Step>, source: SlotSource = wholeRanges(small)): void => {
  const limit = 8
  const store = new Store()
  let slots = new Slots(me, small, limit, source)
  let now = 0
  let names = new Map<string, NameEntry>()
  const leftAt = new Map<string, number>()
  const crowd = { next: 100 }

  const ask = (domain: string): void => {
    const named = assign(slots, store, domain, now, 0.5)
    if (named === undefined) return assert.isUndefined(names.get(domain), `${domain} has lost its slot`)
    const { entry, released } = named
    const before = names.get(domain)
    if (before !== undefined) return assert.deepStrictEqual(entry.proxyIps, before.proxyIps)
    if (released !== undefined) {
      names.delete(released.domain)
      for (const address of released.proxyIps) leftAt.set(address, now)
    }
    for (const address of entry.proxyIps) {
      const owner = [...names.values()].find(({ proxyIps }) => proxyIps.includes(address))
      assert.isUndefined(owner, `${address} stands for ${owner?.domain} and ${domain}`)
      assert.isAtLeast(now - (leftAt.get(address) ?? Number.NEGATIVE_INFINITY), day, `${address} has not rested`)
    }
    names.set(domain, entry)
    assert.isAtMost(names.size, limit)
  }

  for (const step of steps) {
    switch (step._tag) {
      case "Advance":
        now += step.ms
        break
      case "Ask":
        ask(step.domain)
        break
      case "Crowd":
        for (let n = 0; n < step.count; n++) ask(`crowd${crowd.next++}.corp`)
        break
      case "InUse": {
        const id = names.get(step.domain)?.id
        for (const entry of id === undefined ? [] : slots.inUse([id], now)) {
          if (!store.failing) write(slots, store, entry, now)
        }
        break
      }
      case "Restart": {
        const again = restored(store, small, limit, source)
        if (source.atOnce(0) > 1) again.reserved(store.reserve(again.firstReservation), again.firstReservation)
        for (const { domain, proxyIps, slot } of names.values()) {
          assert.deepInclude(again.ofSlot(slot), { domain, proxyIps }, "a restored name is as it was")
        }
        assert.strictEqual(store.rows.size, names.size)
        names = new Map([...names].map(([domain, { slot }]) => [domain, again.ofSlot(slot)!]))
        slots = again
        break
      }
      case "Disk":
        store.failing = step.failing
    }
  }
}

const arbitrary = { runs: 300, seed: 7 }

describe("whatever a client asks for, and however long it takes", () => {
  it.prop(
    "no address stands for two names, nor for another one within 24 hours, and a restart changes no name",
    [Schema.Array(Schema.Union([Ask, Crowd, Advance, InUse, Restart]))],
    ([steps]) => live(steps),
    { arbitrary }
  )

  it.prop(
    "nor where slots are reserved by the dozen, out of spans, and what is left of them is lost at each restart",
    [Schema.Array(Schema.Union([Ask, Crowd, Advance, InUse, Restart]))],
    ([steps]) => {
      const spans = ownSpans([
        { from: 40, to: 60 },
        { from: 4, to: 36 }
      ])
      live(steps, { ...spans, atOnce: () => 64 })
    },
    { arbitrary }
  )

  it.prop(
    "nor while the store fails now and then",
    [Schema.Array(Schema.Union([Ask, Crowd, Advance, InUse, Disk]))],
    ([steps]) => live(steps),
    { arbitrary }
  )
})
