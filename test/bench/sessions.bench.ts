/**
 * Cost of the session table at a million live sessions, visited at random: `npm run bench:sessions` (needs
 * `--expose-gc`). Best of five runs in nanoseconds per operation, loop and generator of numbers included, and what a
 * packet leaves on the heap. `--live` sessions, `--json`.
 */
import { performance } from "node:perf_hooks"
import process from "node:process"
import { type Words, words } from "../../src/packet/address.ts"
import { reserveTable } from "../../layers/dataplane/native/memory.ts"
import { Sessions } from "../../src/nat/sessions.ts"
import { type Measure, option, report } from "./support/report.ts"

const live = option("live", 1_000_000)
const operations = 1_000_000
const perClient = 16_384
const clients = Math.ceil(live / perClient)
const collect: () => void = (globalThis as { gc?: () => void }).gc ?? (() => undefined)

const destination = words(0, 0, 0xffff, 0)
const real = words(0, 0, 0xffff, 0)

/** The i-th flow: clients take turns, each talks to 64 proxies from ever new ports. */
const clientOf = (i: number): number => i % clients
const portOf = (i: number): number => 1_024 + (Math.floor(i / clients) % 60_000)
const address = (base: number, i: number, to: Words): Words => {
  to.w3 = base + (Math.imul(i, 0x9e3779b1) >>> 26)
  return to
}

/** A full-period generator over 2^32: the table is visited in no order that a cache could follow. */
const state = new Uint32Array([1])
const random = (below: number): number => {
  state[0] = Math.imul(state[0]!, 1_664_525) + 1_013_904_223
  return Math.floor((state[0] / 0x1_0000_0000) * below)
}

const insert = (sessions: Sessions, i: number, now: number): number =>
  sessions.insert(
    clientOf(i),
    17,
    portOf(i),
    address(0x64600000, i, destination),
    443,
    address(0x0a000000, i, real),
    i & 4_095,
    1,
    now
  )

const fill = (): Sessions => {
  const sessions = new Sessions({ capacity: 1_048_576, perClient, reserve: reserveTable })
  for (let i = 0; i < live; i++) insert(sessions, i, 0)
  return sessions
}

const nanoseconds = (run: () => void): number => {
  const start = performance.now()
  run()
  return ((performance.now() - start) * 1e6) / operations
}

const measures: Array<Measure> = []
const best = (name: string, measure: () => number, target?: number): void => {
  const value = Math.min(...Array.from({ length: 5 }, measure))
  measures.push({ name, value, unit: "ns", ...(target === undefined ? {} : { target }) })
}

const before = process.memoryUsage()
const table = fill()
if (table.size !== live) throw new Error(`${live - table.size} sessions are missing`)
measures.push({ name: "resident memory", value: (process.memoryUsage().rss - before.rss) / 1_048_576, unit: "MiB" })

let found = 0
const lookups = (): void => {
  for (let n = 0; n < operations; n++) {
    const i = random(live)
    if (table.findOutbound(clientOf(i), 17, portOf(i), address(0x64600000, i, destination), 443) >= 0) found++
  }
}
const inboundLookups = (): void => {
  for (let n = 0; n < operations; n++) {
    const i = random(live)
    if (table.findInbound(clientOf(i), 17, portOf(i), address(0x0a000000, i, real), 443) >= 0) found++
  }
}
const packets = (): void => {
  for (let n = 0; n < operations; n++) {
    const i = random(live)
    const slot = table.findOutbound(clientOf(i), 17, portOf(i), address(0x64600000, i, destination), 443)
    if (slot < 0) continue
    table.outbound(slot, 0, 10)
    table.realInto(slot, real)
    found += table.outsidePort(slot) & 1
  }
}

/** The same when the packets of a batch, as the engine has them at hand, are looked at ahead of their turn. */
const batch = 16
const chosen = new Int32Array(batch)
const batchedLookups = (): void => {
  for (let n = 0; n < operations; n += batch) {
    for (let k = 0; k < batch; k++) {
      const i = (chosen[k] = random(live))
      const to = address(0x64600000, i, destination)
      table.outboundAhead.add(clientOf(i), (17 << 16) | portOf(i), to, 443)
    }
    table.outboundAhead.fetch()
    for (let k = 0; k < batch; k++) {
      const i = chosen[k]!
      if (table.findOutbound(clientOf(i), 17, portOf(i), address(0x64600000, i, destination), 443) >= 0) found++
    }
  }
}
const batchedInboundLookups = (): void => {
  for (let n = 0; n < operations; n += batch) {
    for (let k = 0; k < batch; k++) {
      const i = (chosen[k] = random(live))
      table.inboundAhead.add(clientOf(i), (17 << 16) | portOf(i), address(0x0a000000, i, real), 443)
    }
    table.inboundAhead.fetch()
    for (let k = 0; k < batch; k++) {
      const i = chosen[k]!
      if (table.findInbound(clientOf(i), 17, portOf(i), address(0x0a000000, i, real), 443) >= 0) found++
    }
  }
}

let empty = 0
best("the loop alone", () =>
  nanoseconds(() => {
    for (let n = 0; n < operations; n++) empty += address(0x0a000000, random(live), real).w3
  })
)
best(
  `findOutbound among the ${batch} of its batch, looked at ahead, random hit`,
  () => nanoseconds(batchedLookups),
  150
)
best(
  `findInbound among the ${batch} of its batch, looked at ahead, random hit`,
  () => nanoseconds(batchedInboundLookups),
  150
)
best("findOutbound of a single packet, random hit", () => nanoseconds(lookups))
best("findInbound of a single packet, random hit", () => nanoseconds(inboundLookups))
// These found everything, five times.
if (found !== 20 * operations) throw new Error(`${20 * operations - found} lookups missed`)
best("findOutbound, random miss", () =>
  nanoseconds(() => {
    for (let n = 0; n < operations; n++) {
      const i = random(live)
      if (table.findOutbound(clientOf(i), 6, portOf(i), address(0x64600000, i, destination), 443) >= 0) found++
    }
  })
)
best("packet of a session (find, note, translate)", () => nanoseconds(packets))

let now = 2_000
best("packet that moves its session to the front", () => {
  now += 2_000
  return nanoseconds(() => {
    for (let n = 0; n < operations; n++) {
      const i = random(live)
      const slot = table.findOutbound(clientOf(i), 17, portOf(i), address(0x64600000, i, destination), 443)
      if (slot >= 0) table.outbound(slot, 0, now)
    }
  })
})

best(
  "insert and remove at that size",
  () =>
    nanoseconds(() => {
      for (let n = 0; n < operations; n++) {
        const slot = insert(table, live + n, now)
        table.remove(slot)
      }
    }),
  500
)

let next = live
best("insert that evicts (remove, insert)", () =>
  nanoseconds(() => {
    for (let n = 0; n < operations; n++) insert(table, next++, now)
  })
)

best(
  "insert, from none to that size",
  () => {
    const fresh = new Sessions({ capacity: 1_048_576, perClient, reserve: reserveTable })
    const start = performance.now()
    for (let i = 0; i < live; i++) insert(fresh, i, 0)
    return ((performance.now() - start) * 1e6) / live
  },
  500
)

for (const [name, run] of [
  ["packet", packets],
  [
    "insert that evicts",
    () => {
      for (let n = 0; n < operations; n++) insert(table, next++, now)
    }
  ]
] as const) {
  const grown = Array.from({ length: 5 }, () => {
    collect()
    const heap = process.memoryUsage().heapUsed
    run()
    return (process.memoryUsage().heapUsed - heap) / operations
  })
  measures.push({ name: `heap growth per ${name}`, value: Math.min(...grown), unit: "B", target: 1 })
}
report(`${live} sessions of ${clients} clients (checksum ${(found + empty) & 0xff})`, measures)
