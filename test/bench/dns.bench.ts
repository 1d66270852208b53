/**
 * Questions a second: `npm run bench:dns`. One client and 1,000 clients of the lab's gateway ask through the tunnel, so
 * many questions under way at a time: the gateway's own DNS server, or dnsmasq or unbound in the company's network, which
 * the same gateway lets them reach as a network. All three ask the same nsd. In turns, medians of the rounds; the ratios
 * are medians of those of each round. CPU is that of the gateway and of the server asked, all threads together.
 *
 * - known: a resource's names that the client has asked for; cached: outside names asked before
 * - new: a resource's names never asked for; forwarded: outside names never asked for. Of one client both have a rate
 *   (docs/limits.md), and what is beyond fails at once: "no address or no answer" counts it
 *
 * After that the patience of one client with a name server that takes its time: 400 questions about names outside, one after
 * the other, beside the same asked of that server itself through the tunnel, and 500 at once. Then `bench:accept`'s run:
 * question → proxy IPs of new clients while DNS is a black hole. Options: `--quick`, `--rounds`, `--seconds`, `--askers`,
 * `--only rates,sequence,accept`, `--profile DIRECTORY`, `--json`, `--record`.
 */
import process from "node:process"
import { Effect } from "effect"
import { Lab, labAddresses } from "../../src/lab/demo/Lab.ts"
import { tunnelAddresses } from "../../src/lab/demo/tunnel.ts"
import { startNameServerProgram, startNsd, startScripted, startUnbound } from "../support/nameServers.ts"
import { acceptRun, acceptTitle } from "./support/acceptRun.ts"
import { type ConfiguredFleet, cpuMs, gatewayPid, runBench, startFleetGateway, writeJob } from "./support/benchLab.ts"
import { untilCalm } from "./support/calm.ts"
import { Asked, type Asking } from "./support/dnsLoad.ts"
import { startProgram } from "./support/portalLabs.ts"
import { type Measure, middle, option, percentile, report, word } from "./support/report.ts"

const quick = process.argv.includes("--quick")
const rounds = option("rounds", quick ? 2 : 5)
const seconds = option("seconds", 1)
const many = option("askers", 1_000)
const wanted = word("only", "rates,sequence,accept").split(",")
const { dns, network, origin, otherOrigin } = labAddresses.inner
const inside = "svc.corp.internal"
const outside = "example.com"
const company = `  company: { cidr: ${network.v4}, allow: [all] }\n`

interface Work {
  readonly name: string
  readonly server: "sallyport" | "dnsmasq" | "unbound"
  readonly kind: "fresh" | "known"
  readonly zone: string
}

const works: ReadonlyArray<Work> = [
  { name: "known", server: "sallyport", kind: "known", zone: inside },
  { name: "new", server: "sallyport", kind: "fresh", zone: inside },
  ...(["sallyport", "dnsmasq", "unbound"] as const).flatMap((server): ReadonlyArray<Work> => [
    { name: "cached", server, kind: "known", zone: outside },
    { name: "forwarded", server, kind: "fresh", zone: outside }
  ])
]
const populations = [
  { clients: 1, window: 32, names: 64, title: "1 client" },
  { clients: many, window: 128, names: 4, title: `${many.toLocaleString("en")} clients` }
]

/** Ours over the peer's, of one round. */
const comparisons: ReadonlyArray<readonly [ours: string, peers: ReadonlyArray<string>, atLeast?: number]> = [
  ["sallyport, known", ["dnsmasq, forwarded"], 1],
  ["sallyport, known", ["unbound, forwarded", "dnsmasq, cached", "unbound, cached"]],
  ["sallyport, new", ["dnsmasq, forwarded", "unbound, forwarded"]],
  ["sallyport, forwarded", ["dnsmasq, forwarded", "unbound, forwarded"]],
  ["sallyport, cached", ["dnsmasq, cached", "unbound, cached"]]
]

const median = (numbers: ReadonlyArray<number>): number => middle(numbers.toSorted((a, b) => a - b))!

interface Sample extends Asked {
  /** Microseconds of processor time for each answer. */
  readonly cpu: number
}

const startGenerator = Effect.fnUntraced(function* (fleet: ConfiguredFleet, sources: number) {
  const job = yield* writeJob(fleet, { sources, parameters: {} })
  const generator = yield* startProgram(yield* Lab, "client", "./dnsMain.ts", job)
  return (asking: Asking) => generator.ask(JSON.stringify(asking), Asked)
})

const rates = Effect.gen(function* () {
  yield* startNsd({
    address: dns.v4,
    zones: { [inside]: [`* A ${origin.v4}`], [outside]: ["* A 8.8.4.1"] }
  })
  const dnsmasq = yield* startNameServerProgram({
    host: "lan",
    address: origin.v4,
    command: [
      "dnsmasq",
      "--keep-in-foreground",
      "--conf-file=/dev/null",
      "--no-resolv",
      "--no-hosts",
      "--pid-file",
      "--bind-interfaces",
      "--user=root",
      `--listen-address=${origin.v4}`,
      `--server=${dns.v4}`,
      "--cache-size=10000",
      "--dns-forward-max=1000"
    ]
  })
  const unbound = yield* startUnbound({ host: "lan", address: otherOrigin.v4, upstream: dns.v4 })
  const fleet = yield* startFleetGateway(many, company)
  const gateway = gatewayPid(fleet)
  const servers = {
    sallyport: { address: tunnelAddresses.gateway.v4, pids: [gateway] },
    dnsmasq: { address: origin.v4, pids: [gateway, dnsmasq.pid] },
    unbound: { address: otherOrigin.v4, pids: [gateway, unbound.pid] }
  }
  const ask = yield* startGenerator(fleet, 20)

  for (const { clients, names, title, window } of populations) {
    const samples = new Map<string, Array<Sample>>()
    for (const { kind, server, zone } of works) {
      if (kind !== "known") continue
      yield* ask({ server: servers[server].address, zone, kind: "each", names, clients, window: 8, seconds })
    }
    // What a gateway that has just started compiles, it compiles in round 0.
    for (let round = 0; round <= rounds; round++) {
      for (const { kind, name, server, zone } of works) {
        yield* untilCalm(5)
        const { address, pids } = servers[server]
        const used = (): number => pids.reduce((sum, pid) => sum + cpuMs(pid), 0)
        const before = used()
        const asked = yield* ask({ server: address, zone, kind, names, clients, window, seconds })
        const cpu = ((used() - before) * 1_000) / Math.max(1, asked.times.length)
        process.stderr.write(
          `${title}, round ${round}: ${server}, ${name}: ${Math.round(asked.perSecond)}/s, ${asked.wrong} wrong, ${asked.lost} lost\n`
        )
        const key = `${server}, ${name}`
        if (round > 0) samples.set(key, [...(samples.get(key) ?? []), { ...asked, cpu }])
      }
    }
    const of = (key: string): ReadonlyArray<Sample> => samples.get(key) ?? []
    const ratio = (ours: string, peer: string): number =>
      median(of(ours).map(({ perSecond }, round) => perSecond / of(peer)[round]!.perSecond))
    report(`${title}, ${window} questions under way, ${rounds} rounds of ${seconds} s`, [
      ...[...samples].flatMap(([key, each]): ReadonlyArray<Measure> => [
        { name: key, value: median(each.map(({ perSecond }) => perSecond)), unit: "/s" },
        { name: `${key}, CPU`, value: median(each.map(({ cpu }) => cpu)), unit: "us" },
        {
          name: `${key}, p99`,
          value: percentile(
            each.flatMap(({ times }) => times).toSorted((a, b) => a - b),
            0.99
          ),
          unit: "ms"
        },
        {
          name: `${key}, no address or no answer`,
          value: each.reduce((n, { lost, wrong }) => n + lost + wrong, 0),
          unit: ""
        }
      ]),
      ...comparisons.flatMap(([ours, peers, atLeast]) =>
        peers.map((peer): Measure => ({
          name: `${ours} ÷ ${peer}`,
          value: ratio(ours, peer),
          unit: "×",
          ...(atLeast === undefined ? {} : { atLeast })
        }))
      )
    ])
  }
})

const sequence = Effect.gen(function* () {
  const [inTurn, atOnce, quickMs, slowMs] = [400, 500, 20, 100]
  const answers = (delayMs: number) => ({ "*": { A: ["8.8.4.1"], delayMs } })
  const nameServer = yield* startScripted(dns.v4, answers(quickMs))
  const ask = yield* startGenerator(yield* startFleetGateway(1, company), 1)
  const asked = (server: string, count: number, window: number) =>
    ask({ server, zone: outside, kind: "fresh", names: 0, clients: 1, window, seconds: 0, count })
  const ratios: Array<number> = []
  const slowest: Array<number> = []
  let failed = 0
  for (let round = 0; round <= rounds; round++) {
    yield* untilCalm(5)
    const ours = yield* asked(tunnelAddresses.gateway.v4, inTurn, 1)
    const direct = yield* asked(dns.v4, inTurn, 1)
    if (round === 0) continue
    ratios.push(ours.perSecond / direct.perSecond)
    failed += ours.lost + ours.wrong
  }
  yield* nameServer.set(answers(slowMs))
  for (let round = 0; round < rounds; round++) {
    yield* untilCalm(5)
    const { lost, times, wrong } = yield* asked(tunnelAddresses.gateway.v4, atOnce, atOnce)
    slowest.push(Math.max(...times))
    failed += lost + wrong
  }
  report(`1 client, forwarded, ${rounds} rounds`, [
    {
      name: `${inTurn} in sequence, ${quickMs} ms each: sallyport ÷ the name server itself`,
      value: median(ratios),
      unit: "×",
      atLeast: 0.9
    },
    {
      name: `${atOnce} at once, ${slowMs} ms each: the slowest`,
      value: Math.max(...slowest),
      unit: "ms",
      target: 1_000
    },
    { name: "no address or no answer", value: failed, unit: "", target: 0 }
  ])
})

if (wanted.includes("rates")) await runBench(rates)
if (wanted.includes("sequence")) await runBench(sequence)
if (wanted.includes("accept")) {
  await runBench(Effect.map(acceptRun, (measures) => report(acceptTitle, measures)))
}
