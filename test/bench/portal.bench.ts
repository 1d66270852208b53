/**
 * The portal mode's numbers: `npm run bench:portal`. Client and gateway at two homes behind routers, everything on one
 * machine. Rounds go through all ways in turn, after one whose results are not kept; reported are medians.
 *
 * - Direct through ICE beside standalone: the same topology, MTU 1280, the same client engine. They are so alike that
 *   TCP's own ups and downs (10 % from one second to the next) hide the difference: `directRounds` rounds of a second each,
 *   and the mean of the rounds' ratios with its standard error.
 * - Relayed through coturn beside coturn alone: two bare ends at the same coturn on the same hosts exchange datagrams as
 *   long as WireGuard's, in the same batches, without cipher or tunnel. The gateway's has the allocation and a channel,
 *   as ICE chooses it here, so each payload byte costs coturn the same datagrams. For TCP the bare ends keep a window of
 *   datagrams under way and acknowledge (of several windows the fastest without loss counts); for UDP they are offered
 *   the same rate. Counted is the payload that those datagrams would carry.
 * - Set-up: from the client's DNS question to the first byte, each time of a client that has just started and for a name
 *   never asked for. Its answer waits for the portal, ICE, WireGuard's handshake and the gateway's lookup.
 * - Requests while DNS is a black hole: from request to reply on the gateway's wire, by the kernel's time stamps.
 *
 * Options: `--quick`, `--rounds`, `--seconds`, `--set-ups`, `--requests`, `--direct-rounds`, `--only direct,relayed,setup,dns`,
 * `--timeline`, `--json`.
 */
import process from "node:process"
import { Effect, Schema, type Scope } from "effect"
import { clientDns, startPortalClient } from "../../src/lab/demo/deployment.ts"
import { portalUrl, tokens } from "../../src/lab/demo/portalSite.ts"
import { Lab, labAddresses, type LabError } from "../../src/lab/demo/Lab.ts"
import { blackHoleDns } from "../support/lab.ts"
import { untilCalm } from "./support/calm.ts"
import type { Direction, Work } from "./support/cases.ts"
import { measure, type Sample } from "./support/measure.ts"
import {
  startBarePair,
  startPortalGatewayLab,
  startPortalLab,
  startProgram,
  startStandalone
} from "./support/portalLabs.ts"
import { latencies, type Measure, option, percentile, report, word } from "./support/report.ts"

const quick = process.argv.includes("--quick")
const rounds = option("rounds", quick ? 3 : 5)
const seconds = option("seconds", quick ? 1 : 2)
const setUps = option("set-ups", quick ? 10 : 50)
const requests = option("requests", quick ? 400 : 2_000)
const wanted = word("only", "direct,relayed,setup,dns").split(",")
const wants = (name: string): boolean => wanted.includes(name)

/** Rounds of a second each for two ways that hardly differ. */
const directRounds = option("direct-rounds", quick ? 6 : 40)

const directions: ReadonlyArray<Direction> = ["up", "down"]
/** iperf3's payload of a datagram, and of a TCP segment at MTU 1280 (20 IPv4, 20 TCP, 12 time stamps). */
const udpPayload = 1_200
const tcpPayload = 1_228
/** WireGuard's: padded to 16, 32 around it. */
const udpDatagram = 1_264
const tcpDatagram = 1_312
const windows = [16, 32, 64, 128]
/** A pace at which the relay loses more is not what it carries. */
const soundLoss = 0.01
const rates = quick ? [200] : [200, 400]
const mebibyte = 1_024 * 1_024

const say = (text: string): Effect.Effect<void> => Effect.sync(() => void process.stderr.write(`${text}\n`))
const median = (numbers: ReadonlyArray<number>): number =>
  percentile(
    numbers.toSorted((a, b) => a - b),
    0.5
  )

/** Name of a case → a sample per round. */
type Samples = Map<string, Array<Sample>>
const add = (samples: Samples, name: string, sample: Sample): void => {
  samples.set(name, [...(samples.get(name) ?? []), sample])
}
const speed = (samples: Samples, name: string): number => median(samples.get(name)!.map(({ mibps }) => mibps!))

const tcp = (direction: Direction): Work => ({ kind: "tcp", direction, flows: 1 })
const udp = (direction: Direction, megabits: number): Work => ({ kind: "udp", direction, megabits, size: udpPayload })

/** Each round another one begins. What round −1 shows is not kept: both ends' code is compiled in it. */
const inTurn = Effect.fnUntraced(function* (
  samples: Samples,
  round: number,
  ways: ReadonlyArray<readonly [name: string, run: Effect.Effect<Sample, LabError>]>
) {
  for (let i = 0; i < ways.length; i++) {
    const [name, run] = ways[(i + round + ways.length) % ways.length]!
    yield* untilCalm(10)
    const sample = yield* run
    if (round >= 0) add(samples, name, sample)
    yield* say(`  ${name}: ${sample.mibps!.toFixed(1)} MiB/s, loss ${((sample.loss ?? 0) * 100).toFixed(2)} %`)
  }
})

const processors = [
  ["gateway", "cpuPerGiB"],
  ["client", "clientPerGiB"]
] as const

const line = (samples: Samples, name: string): ReadonlyArray<Measure> => {
  const of = samples.get(name)!
  const losses = of.flatMap(({ loss }) => loss ?? [])
  return [
    { name, value: speed(samples, name), unit: "MiB/s" },
    ...processors.flatMap(([end, key]) => {
      const times = of.flatMap((sample) => sample[key] ?? [])
      return times.length === 0 ? [] : [{ name: `${name}, ${end}'s processor`, value: median(times), unit: "s/GiB" }]
    }),
    ...(losses.length === 0 ? [] : [{ name: `${name}, loss`, value: median(losses) * 100, unit: "%" }])
  ]
}

const ratio = (samples: Samples, name: string, ours: string, base: string, atLeast: number): Measure => ({
  name,
  value: speed(samples, ours) / speed(samples, base),
  unit: "×",
  atLeast
})

/** Neighbours in time are compared, since the machine's own speed changes between rounds; their geometric mean. */
const ratioByRounds = (samples: Samples, name: string): ReadonlyArray<Measure> => {
  const base = samples.get(`${name}, standalone`)!
  const logs = samples.get(`${name}, ICE`)!.map(({ mibps }, round) => Math.log(mibps! / base[round]!.mibps!))
  const mean = logs.reduce((sum, log) => sum + log, 0) / logs.length
  const variance = logs.reduce((sum, log) => sum + (log - mean) ** 2, 0) / (logs.length - 1)
  return [
    { name: `${name}, ICE ÷ standalone`, value: Math.exp(mean), unit: "×", atLeast: 0.98 },
    { name: `${name}, ICE ÷ standalone, standard error`, value: Math.sqrt(variance / logs.length), unit: "×" }
  ]
}

const direct = Effect.gen(function* () {
  const standalone = yield* startStandalone
  const ice = yield* startPortalLab("direct")
  const samples: Samples = new Map()
  const cases = directions.flatMap((direction) => [
    [`TCP ${direction}`, tcp(direction), directRounds, 1] as const,
    ...rates
      .slice(-1)
      .map((rate) => [`UDP ${rate} Mbit/s ${direction}`, udp(direction, rate), rounds, seconds] as const)
  ])
  for (let round = -1; round < Math.max(rounds, directRounds); round++) {
    yield* say(round < 0 ? "direct, warm-up" : `direct, round ${round + 1}`)
    for (const [name, work, of, long] of cases) {
      if (round >= of) continue
      yield* inTurn(samples, round, [
        [`${name}, standalone`, measure(standalone, work, long)],
        [`${name}, ICE`, measure(ice, work, long)]
      ])
    }
  }
  report(
    `direct: ICE beside standalone, TCP ${directRounds} rounds of 1 s, UDP ${rounds} of ${seconds} s`,
    cases.flatMap(([name]) => [
      ...line(samples, `${name}, standalone`),
      ...line(samples, `${name}, ICE`),
      ...ratioByRounds(samples, name)
    ])
  )
})

const relayed = Effect.gen(function* () {
  const through = yield* startPortalLab("relayed")
  const alone = yield* startBarePair(through.lab, "gateway")
  const samples: Samples = new Map()
  const bare = (direction: Direction, size: number, payload: number, load: { window?: number; megabits?: number }) =>
    Effect.map(alone.carry(direction, { size, seconds, ...load }), ({ loss, perSecond }): Sample => ({
      mibps: (perSecond * payload) / mebibyte,
      loss
    }))
  for (let round = -1; round < rounds; round++) {
    yield* say(round < 0 ? "relayed, warm-up" : `relayed, round ${round + 1} of ${rounds}`)
    for (const direction of directions) {
      yield* inTurn(samples, round, [
        [`TCP ${direction}`, measure(through, tcp(direction), seconds)],
        ...windows.map(
          (window) =>
            [
              `coturn alone, ${window} datagrams under way, ${direction}`,
              bare(direction, tcpDatagram, tcpPayload, { window })
            ] as const
        )
      ])
      for (const rate of rates) {
        yield* inTurn(samples, round, [
          [`UDP ${rate} Mbit/s ${direction}`, measure(through, udp(direction, rate), seconds)],
          [
            `coturn alone, ${rate} Mbit/s, ${direction}`,
            bare(direction, udpDatagram, udpPayload, { megabits: (rate * udpDatagram) / udpPayload })
          ]
        ])
      }
    }
  }
  report(
    `relayed through coturn beside coturn alone, medians of ${rounds} rounds of ${seconds} s`,
    directions.flatMap((direction) => {
      const names = windows.map((window) => `coturn alone, ${window} datagrams under way, ${direction}`)
      const lost = (name: string): number => median(samples.get(name)!.map(({ loss }) => loss!))
      const sound = names.filter((name) => lost(name) <= soundLoss)
      const best = sound.toSorted((a, b) => speed(samples, b) - speed(samples, a))[0] ?? names[0]!
      return [
        ...names.flatMap((name) => line(samples, name)),
        ...line(samples, `TCP ${direction}`),
        ratio(samples, `TCP ${direction} ÷ fastest of coturn alone`, `TCP ${direction}`, best, 0.9),
        ...rates.flatMap((rate) => {
          const [ours, base] = [`UDP ${rate} Mbit/s ${direction}`, `coturn alone, ${rate} Mbit/s, ${direction}`]
          return [
            ...line(samples, base),
            ...line(samples, ours),
            ratio(samples, `${ours} ÷ coturn alone`, ours, base, 0.9)
          ]
        })
      ]
    })
  )
})

const SetUp = Schema.Struct({ dns: Schema.Finite, first: Schema.Finite })

const setUp = Effect.gen(function* () {
  const { lab, nameServer } = yield* startPortalGatewayLab
  const asker = yield* startProgram(lab, "client", "./setUpMain.ts", clientDns.v4)
  const times: Array<typeof SetUp.Type> = []
  yield* untilCalm(30)
  for (let i = 0; i < setUps; i++) {
    const name = `fresh${i}.corp.internal`
    yield* nameServer.set({ name, a: [labAddresses.inner.origin.v4], aaaa: [], ttl: 300 })
    const connect = Effect.gen(function* () {
      yield* startPortalClient()
      // What a client does when it starts is over.
      yield* untilCalm(2)
      return yield* asker.ask(name, SetUp)
    })
    times.push(yield* Effect.scoped(connect).pipe(Effect.provideService(Lab, lab)))
  }
  const sorted = times.map(({ first }) => first).toSorted((a, b) => a - b)
  report(`connection set-up, direct, DNS healthy, ${setUps} clients that just started`, [
    { name: "DNS question → first byte, p50", value: percentile(sorted, 0.5), unit: "ms", target: 150 },
    { name: "DNS question → first byte, p90", value: percentile(sorted, 0.9), unit: "ms" },
    { name: "DNS question → first byte, max", value: sorted.at(-1)!, unit: "ms" },
    { name: "of it, DNS question → proxy IPs, p50", value: median(times.map(({ dns }) => dns)), unit: "ms" }
  ])
})

const Counted = Schema.Struct({ asked: Schema.Finite, answered: Schema.Finite })
const Seen = Schema.Struct({ requests: Schema.Finite, answers: Schema.Array(Schema.Finite), lost: Schema.Finite })

const silentDns = Effect.gen(function* () {
  const { lab } = yield* startPortalGatewayLab
  yield* Effect.provideService(blackHoleDns(true), Lab, lab)
  const each = 5
  const clients = String(requests / each)
  const fleet = yield* startProgram(
    lab,
    "internet",
    "../../support/portalFleetMain.ts",
    portalUrl,
    tokens.client,
    clients,
    String(each),
    "200"
  )
  const wire = yield* startProgram(lab, "gateway", "../../support/portalWireMain.ts", "8081")
  yield* untilCalm(30)
  const { answered, asked } = yield* fleet.ask("go", Counted)
  const { answers, lost } = yield* wire.ask("go", Seen)
  if (process.argv.includes("--timeline")) {
    const cells = Array.from({ length: Math.ceil(answers.length / 200) }, (_, second) => {
      const sorted = answers.slice(second * 200, second * 200 + 200).toSorted((a, b) => a - b)
      return `${percentile(sorted, 0.5).toFixed(1)}/${percentile(sorted, 0.99).toFixed(0)}/${sorted.at(-1)!.toFixed(0)}`
    })
    yield* say(`p50/p99/max of each second, ms: ${cells.join(" ")}`)
  }
  report(`${requests} requests at 200/s of both generations, upstream DNS black-holed, a gateway that just started`, [
    ...latencies("request → reply, gateway's wire", answers, 5),
    { name: "requests without reply", value: asked - answered, unit: "", target: 0 },
    { name: "not seen on the wire", value: requests - answers.length, unit: "", target: 0 },
    { name: "packets lost by the capture", value: lost, unit: "" }
  ])
})

const parts: ReadonlyArray<readonly [string, Effect.Effect<void, LabError, Scope.Scope>]> = [
  ["dns", silentDns],
  ["setup", setUp],
  ["direct", direct],
  ["relayed", relayed]
]
for (const [name, part] of parts) if (wants(name)) await Effect.runPromise(Effect.scoped(part))
