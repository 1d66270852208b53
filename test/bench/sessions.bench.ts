/**
 * Cost of the session table at a million live sessions: `node --expose-gc test/bench/sessions.bench.ts`.
 * Prints the best of five runs in nanoseconds per operation, and what a packet leaves on the heap.
 */
import { performance } from "node:perf_hooks"
import process from "node:process"
import { type Words, words } from "../../src/packet/address.ts"
import { Sessions } from "../../src/nat/sessions.ts"

const live = Number(process.argv[2] ?? 1_000_000)
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
  const sessions = new Sessions({ capacity: 1_048_576, perClient })
  for (let i = 0; i < live; i++) insert(sessions, i, 0)
  return sessions
}

const nanoseconds = (run: () => void): number => {
  const start = performance.now()
  run()
  return ((performance.now() - start) * 1e6) / operations
}

const best = (name: string, measure: () => number): void => {
  const runs = Array.from({ length: 5 }, measure)
  process.stdout.write(
    `${name.padEnd(44)} ${Math.min(...runs)
      .toFixed(0)
      .padStart(6)} ns  (${runs.map((r) => r.toFixed(0)).join(" ")})\n`
  )
}

const before = process.memoryUsage()
const table = fill()
process.stdout.write(
  `${table.size} live sessions of ${clients} clients, ${table.evictions} evicted, ` +
    `${((process.memoryUsage().rss - before.rss) / 1_048_576).toFixed(0)} MiB resident\n`
)

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

let empty = 0
best("the loop alone", () =>
  nanoseconds(() => {
    for (let n = 0; n < operations; n++) empty += address(0x0a000000, random(live), real).w3
  })
)
best("findOutbound, random hit", () => nanoseconds(lookups))
best("findInbound, random hit", () => nanoseconds(inboundLookups))
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

best("insert and remove at that size", () =>
  nanoseconds(() => {
    for (let n = 0; n < operations; n++) {
      const slot = insert(table, live + n, now)
      table.remove(slot)
    }
  })
)

let next = live
best("insert that evicts", () =>
  nanoseconds(() => {
    for (let n = 0; n < operations; n++) insert(table, next++, now)
  })
)

best("insert into an emptier table (to the full size)", () => {
  const fresh = new Sessions({ capacity: 1_048_576, perClient })
  const start = performance.now()
  for (let i = 0; i < live; i++) insert(fresh, i, 0)
  return ((performance.now() - start) * 1e6) / live
})

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
  process.stdout.write(
    `heap growth per ${name}: ${Math.min(...grown).toFixed(3)} bytes (${grown.map((g) => g.toFixed(3)).join(" ")})\n`
  )
}
process.stdout.write(`(${found + (empty & 1)} hits)\n`)
