/**
 * What a reload costs a large gateway: `npm run bench:reload`. Many connected clients, many resources that all of them may
 * reach, one change in the file at a time: from the request to the answer, reading and checking of the file included. A
 * client pings the LAN through its tunnel all the time: from the gateway's wire in to its wire out, by the kernel's time
 * stamps, without reloads first and then during them. Where others use the machine, too, the gateway's own processor time
 * tells more than any latency. Options: `--clients`, `--resources`, `--rounds`, `--json`,
 * `--record`, `--profile DIRECTORY`.
 */
import { readFileSync, writeFileSync } from "node:fs"
import { Effect, Fiber, Schedule, Schema } from "effect"
import * as ControlClient from "../../layers/cli/ControlClient.ts"
import { askReload } from "../../src/cli/askReload.ts"
import { turnBounds } from "../../src/dataplane/counters.ts"
import { Lab, labAddresses } from "../../src/lab/demo/Lab.ts"
import { cpuMs, gatewayPid, generate, runBench, startFleetGateway } from "./support/benchLab.ts"
import { clock } from "./support/fleet.ts"
import { latencies, option, percentile, report } from "./support/report.ts"
import { watchWire } from "./support/wireTimes.ts"

const clients = option("clients", 1_000)
const resources = option("resources", 200)
const rounds = option("rounds", 10)
const quietSeconds = 10
const pauseMs = 250
/** Of the packet path, the longest that is asked for. */
const heldUpUs = 5_000
/** Clients a second that connect. */
const rate = 200

const { origin } = labAddresses.inner
/** Names and networks in turns; `services` of the fleet and `lan` are two more. */
const others = Array.from({ length: resources - 2 }, (_, i) =>
  i % 2 === 0
    ? `  r${i}: { name: host${i}.corp.internal, resolver: corp, ports: [tcp/443], allow: [all] }`
    : `  r${i}: { cidr: 10.77.${i}.0/24, ports: [tcp/443], allow: [all] }`
)
const lines = [`  lan: { cidr: ${origin.v4}/32, allow: [all] }`, ...others].join("\n")

/** Each there and back again. */
const changes: ReadonlyArray<readonly [what: string, from: string, to: string]> = [
  [
    "a port of a resource",
    "host6.corp.internal, resolver: corp, ports: [tcp/443]",
    "host6.corp.internal, resolver: corp, ports: [tcp/443, tcp/22]"
  ],
  [
    "a resource for one client only",
    "10.77.7.0/24, ports: [tcp/443], allow: [all]",
    "10.77.7.0/24, ports: [tcp/443], allow: [c3]"
  ],
  ["a client more", "clients:\n", `clients:\n  late: { public_key: "${"B".repeat(42)}E=", groups: [all] }\n`],
  ["a search domain", "resources:\n", "search: [corp.internal]\nresources:\n"]
]

const Pings = Schema.Struct({ connected: Schema.Finite, sent: Schema.Finite, answered: Schema.Finite })

await runBench(
  Effect.gen(function* () {
    const lab = yield* Lab
    const fleet = yield* startFleetGateway(clients, lines)
    const { configPath: file } = fleet.gateway
    const socket = `${lab.directory}/gateway.sock`
    const reload = askReload(socket)
    const watch = yield* watchWire
    const reloading = rounds * changes.length * 2 * (pauseMs / 1_000 + 0.5)
    const seconds = quietSeconds + 5 + reloading
    const parameters = { rate, seconds, perSecond: 500 }
    const options = { sources: 20, seconds: seconds + clients / rate + 60, parameters, result: Pings }
    const load = yield* Effect.forkChild(generate("pingMain.ts", fleet, options))
    const connected = Effect.map(fleet.gateway.status, (status) => status.clients.filter((c) => c.connected).length)
    yield* Effect.repeat(connected, { until: (n) => n === clients, schedule: Schedule.spaced("1 second"), times: 60 })
    const longTurns = Effect.map(fleet.gateway.status, ({ counters: { dataPlane } }) =>
      turnBounds.reduce(
        (count, bound) => count + (bound > heldUpUs ? (dataPlane[`turn.up_to_${bound}_us`] ?? 0) : 0),
        dataPlane["turn.longer"] ?? 0
      )
    )
    yield* Effect.sleep((quietSeconds + 2) * 1_000)
    const longBefore = yield* longTurns
    const beganAt = Date.now()
    const pid = gatewayPid(fleet)
    const times = new Map(changes.map(([what]) => [what, { took: new Array<number>(), processor: 0 }]))
    let cut = 0
    for (let round = 0; round < rounds; round++) {
      for (const [what, from, to] of changes) {
        for (const [now, next] of [
          [from, to],
          [to, from]
        ] as const) {
          const text = readFileSync(file, "utf8")
          if (!text.includes(now)) throw new Error(`the file has no ${now}`)
          writeFileSync(file, text.replace(now, next))
          const of = times.get(what)!
          const before = cpuMs(pid)
          const since = clock()
          const { sessions } = yield* reload
          of.took.push(clock() - since)
          cut += sessions.cut
          yield* Effect.sleep(pauseMs)
          of.processor += (cpuMs(pid) - before) / (2 * rounds)
        }
      }
    }
    const endedAt = Date.now()
    const long = (yield* longTurns) - longBefore
    const wire = yield* watch.stop
    const { answered, connected: handshakes, sent } = yield* Fiber.join(load)
    const isQuiet = (at: number) => wire.begunAt + at * 1_000 < beganAt
    const isOver = (at: number) => wire.begunAt + at * 1_000 > endedAt
    const pings = (when: (at: number) => boolean) => wire.queries.flatMap(([at, took]) => (when(at) ? [took] : []))
    const during = pings((at) => !isQuiet(at) && !isOver(at))
    report(`reload of ${clients} connected clients × ${resources} resources with one change`, [
      ...changes.flatMap(([what]) => {
        const { processor, took } = times.get(what)!
        return [
          ...latencies(what, took, 200),
          { name: `${what}, processor time with the pings meanwhile`, value: processor, unit: "ms" }
        ]
      }),
      ...latencies("ping through the tunnel, no reload", pings(isQuiet)),
      ...latencies("ping through the tunnel, during reloads", during).slice(0, 3),
      {
        name: "ping through the tunnel, during reloads, max",
        value: percentile(
          during.toSorted((a, b) => a - b),
          1
        ),
        unit: "ms",
        target: heldUpUs / 1_000
      },
      { name: `turns of the packet path longer than ${heldUpUs / 1_000} ms, during reloads`, value: long, unit: "" },
      { name: "packets not seen on the wire", value: wire.lost, unit: "" },
      { name: "pings whose answer the loaded generator missed", value: sent - answered, unit: "" },
      { name: "flows cut", value: cut, unit: "", target: 0 },
      { name: "clients without a handshake", value: clients - handshakes, unit: "", target: 0 }
    ])
  }).pipe(Effect.provide(ControlClient.layer))
)
